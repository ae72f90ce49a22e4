"""Which container has which device: a real gRPC server speaks the kubelet's API on a socket."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from joulery.errors import SourceFailed, SourceForbidden, SourceUnavailable
from joulery.exporters.pod_resources import Allocation, PodResources, device_of, messages

from ..unprivileged import open_folder, run_unprivileged

_GPU = "GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c"
_MIG = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"
_V1, _V1_ALPHA = "v1.PodResourcesLister", "v1alpha1.PodResourcesLister"

Answer = Callable[[Any, grpc.ServicerContext], Any]


class Kubelet:
    """A server of the pod-resources API; `answer` may be changed while it runs."""

    def __init__(self, path: Path, answer: Answer, service: str = _V1) -> None:
        self.answer = answer
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(
            lambda request, context: self.answer(request, context),
            request_deserializer=messages()["ListPodResourcesRequest"].FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
        handlers = grpc.method_handlers_generic_handler(service, {"List": handler})
        self._server.add_generic_rpc_handlers((handlers,))
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def stop(self) -> None:
        """End at once, as a kubelet that is restarted."""
        self._server.stop(0).wait()


@pytest.fixture
def path() -> Iterator[Path]:
    """Return where the socket is to be; pytest's own folders have names too long for one."""
    with open_folder() as folder:
        yield folder / "kubelet.sock"


@pytest.fixture
def kubelet(path: Path) -> Iterator[Kubelet]:
    """Return a kubelet with some pods."""
    server = Kubelet(path, lambda *_: _pods())
    yield server
    server.stop()


def _pods() -> Any:
    """Return an answer with devices of every kind, and pods and containers without."""
    response = messages()["ListPodResourcesResponse"]()
    response.pod_resources.add(name="plain", namespace="shop").containers.add(name="main")
    train = response.pod_resources.add(name="train-0", namespace="ml")
    main = train.containers.add(name="main")
    main.devices.add(resource_name="nvidia.com/gpu", device_ids=[_GPU])
    main.devices.add(resource_name="nvidia.com/gpu", device_ids=["GPU-2", _GPU])
    main.devices.add(resource_name="vendor.example/nic", device_ids=["eth-1"])
    train.containers.add(name="side-car")
    serve = response.pod_resources.add(name="serve", namespace="ml")
    one = serve.containers.add(name="one")
    one.devices.add(resource_name="nvidia.com/mig-1g.10gb", device_ids=[_MIG])
    two = serve.containers.add(name="two")
    two.devices.add(resource_name="nvidia.com/gpu.shared", device_ids=[f"{_GPU}::3"])
    claim = two.dynamic_resources.add()
    claim.claim_resources.add(driver_name="gpu.nvidia.com", device_name="gpu-0")
    claim.claim_resources.add()
    return response


def _had(pod: str, container: str, resource: str, *ids: str) -> Allocation:
    return Allocation(
        namespace="ml", pod=pod, container=container, resource=resource, device_ids=ids
    )


_EXPECTED = (
    _had("train-0", "main", "nvidia.com/gpu", _GPU, "GPU-2"),
    _had("train-0", "main", "vendor.example/nic", "eth-1"),
    _had("serve", "one", "nvidia.com/mig-1g.10gb", _MIG),
    _had("serve", "two", "nvidia.com/gpu.shared", f"{_GPU}::3"),
    _had("serve", "two", "gpu.nvidia.com", "gpu-0"),
)


def test_devices_of_all_containers(kubelet: Kubelet, path: Path) -> None:
    """Several pods with whole, shared, partitioned and claimed devices; those without have none."""
    resources = PodResources(path)
    assert resources.list() == _EXPECTED
    kubelet.answer = lambda *_: messages()["ListPodResourcesResponse"]()
    assert resources.list() == ()
    resources.close()


def test_what_the_kubelet_sends_besides(kubelet: Kubelet, path: Path) -> None:
    """Fields that we do not know are passed over: topology and CPUs, written here by hand."""
    container = (
        b"\x0a\x04main"
        + b"\x1a\x02\x01\x02"
        + b"\x12\x14"
        + (b"\x0a\x03gpu" + b"\x12\x05GPU-1" + b"\x1a\x06\x0a\x04\x08\x01\x10\x02")
    )
    pod = b"\x0a\x03web" + b"\x12\x04shop" + b"\x1a" + bytes([len(container)]) + container
    kubelet.answer = lambda *_: messages()["ListPodResourcesResponse"].FromString(
        b"\x0a" + bytes([len(pod)]) + pod
    )
    assert PodResources(path).list() == (
        Allocation(
            namespace="shop", pod="web", container="main", resource="gpu", device_ids=("GPU-1",)
        ),
    )


def test_a_kubelet_that_restarts(path: Path) -> None:
    """While the kubelet is gone the call fails, and the first call after it is back works."""
    resources = PodResources(path)
    with pytest.raises(SourceUnavailable, match="no socket") as caught:
        resources.list()
    assert "--pod-resources" in (caught.value.remedy or "")
    for _ in range(2):
        kubelet = Kubelet(path, lambda *_: _pods())
        assert resources.list() == _EXPECTED
        kubelet.stop()
        with pytest.raises(SourceFailed, match=r"kubelet\.sock"):
            resources.list()
        path.unlink(missing_ok=True)
        with pytest.raises(SourceUnavailable, match="no socket"):
            resources.list()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))  # a file that nobody listens at, as after a crash
    with pytest.raises(SourceFailed, match="refused"):
        resources.list()


def test_answers_that_are_refusals(kubelet: Kubelet, path: Path) -> None:
    """Too many calls, no answer in time and no permission are told apart; then it goes on."""
    resources, over = PodResources(path, limit_s=0.5), threading.Event()

    def refuse(code: grpc.StatusCode) -> Answer:
        return lambda _, context: context.abort(code, "rejected by rate limit")

    kubelet.answer = refuse(grpc.StatusCode.RESOURCE_EXHAUSTED)
    with pytest.raises(SourceFailed, match="RESOURCE_EXHAUSTED: rejected by rate limit"):
        resources.list()
    kubelet.answer = refuse(grpc.StatusCode.PERMISSION_DENIED)
    with pytest.raises(SourceForbidden):
        resources.list()
    kubelet.answer = lambda *_: over.wait(30)
    with pytest.raises(SourceFailed, match=r"no answer in 0\.5 s"):
        resources.list()
    over.set()
    kubelet.answer = lambda *_: _pods()
    assert resources.list() == _EXPECTED


def test_a_kubelet_that_is_too_old(path: Path) -> None:
    """A kubelet that only knows the API's first version has no such source; the remedy says why."""
    kubelet = Kubelet(path, lambda *_: _pods(), service=_V1_ALPHA)
    with pytest.raises(SourceUnavailable, match="version 1") as caught:
        PodResources(path).list()
    assert "Kubernetes" in (caught.value.remedy or "")
    kubelet.stop()


@pytest.mark.usefixtures("kubelet")
def test_a_socket_that_may_not_be_used(path: Path) -> None:
    """A socket of root's is forbidden to others, and the remedy says who may use it."""
    program = (
        "import sys; from pathlib import Path; from joulery.errors import SourceForbidden\n"
        "from joulery.exporters.pod_resources import PodResources\n"
        "try: PodResources(Path(sys.argv[1])).list()\n"
        "except SourceForbidden as error: print(error.remedy)\n"
    )
    assert PodResources(path).list()
    path.chmod(0o600)
    ended = run_unprivileged("-c", program, str(path))
    assert "root" in ended.stdout, ended.stderr


def test_what_ids_name() -> None:
    """A replica names its GPU or its MIG instance; every other id names itself."""
    assert device_of(_GPU) == device_of(f"{_GPU}::0") == device_of(f"{_GPU}::12") == _GPU
    assert device_of(_MIG) == device_of(f"{_MIG}::1") == _MIG
    for other in ("MIG-GPU-1/7/0", "nvidia0/vgpu1", "card0-1", "0:1", "0000:3b:00.0::x", ""):
        assert device_of(other) == other


def test_a_node_without_accelerators_does_not_load_grpc() -> None:
    """Importing the module loads neither grpc nor protobuf; only asking does."""
    program = (
        "import sys, joulery.exporters.pod_resources as module\n"
        "module.PodResources(module.Path('/nowhere'))\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'grpc'])\n"
        "print([name for name in sys.modules if name.startswith('google.protobuf')])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["[]", "[]"], ended.stderr

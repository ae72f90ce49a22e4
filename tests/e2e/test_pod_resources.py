"""Devices that a real kubelet allocates, and the joules of the pod that has them.

The device plugin is ours, and so is the GPU: a small NVML that the tests compile. Which pod has
which device is the kubelet's own word.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from joulery.exporters.pod_resources import PodResources, device_of

from ..exporters.process import exporter
from ..profiler.nvml_library import compile_nvml
from .burners import burner
from .cluster import Bed, Cluster, eventually

_PLUGINS = Path("/var/lib/kubelet/device-plugins")
"""The kubelet looks for plugins here, whatever its root folder is."""
_RESOURCE = "nvidia.com/gpu"
_GPU = "GPU-aaaa"


def _field(number: int, data: bytes) -> bytes:
    """Return a length-delimited protobuf field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(data)]) + data


class _Plugin(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A device plugin (kubelet API v1beta1) that has one healthy GPU."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def service(self, handler_call_details: Any) -> Any:
        """Answer one call; messages are bytes."""
        name = handler_call_details.method.rpartition("/")[2]
        if name == "ListAndWatch":
            return grpc.unary_stream_rpc_method_handler(self._list)
        if name == "Allocate":
            return grpc.unary_unary_rpc_method_handler(lambda *_: _field(1, b""))
        return grpc.unary_unary_rpc_method_handler(lambda *_: b"")

    def _list(self, *_: object) -> Iterator[bytes]:
        yield _field(1, _field(1, f"{_GPU}::0".encode()) + _field(2, b"Healthy"))
        self._stop.wait()


@pytest.fixture(scope="module")
def plugin(testbed: Bed, cluster: Cluster) -> Iterator[None]:
    """Register a device plugin with the kubelet, until the node has its resource."""
    assert testbed
    socket, stop = _PLUGINS / "joulery-e2e.sock", threading.Event()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((_Plugin(stop),))
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    request = _field(1, b"v1beta1") + _field(2, socket.name.encode())
    with grpc.insecure_channel(f"unix://{_PLUGINS / 'kubelet.sock'}") as channel:
        register = channel.unary_unary("/v1beta1.Registration/Register")
        register(request + _field(3, _RESOURCE.encode()), timeout=10)

    def allocatable() -> bool:
        [node] = cluster.get("nodes")["items"]
        return bool(node["status"]["allocatable"].get(_RESOURCE) == "1")

    try:
        eventually(allocatable, seconds=60, what="the node has the resource")
        yield
    finally:
        stop.set()
        server.stop(5).wait()
        socket.unlink(missing_ok=True)


@pytest.mark.usefixtures("plugin")
def test_the_pod_that_has_a_gpu_has_its_joules(
    cluster: Cluster, testbed: Bed, namespace: str, tmp_path: Path
) -> None:
    """The kubelet's word on who has a GPU gives that GPU's active energy to that pod."""
    pod = burner("inference", namespace, "/bin/busybox sleep 600")
    pod["spec"]["containers"][0]["resources"] = {"limits": {_RESOURCE: "1"}}
    cluster.apply(pod)
    socket = testbed.kubelet_root / "pod-resources" / "kubelet.sock"
    resources = PodResources(socket)

    def held() -> bool:
        [one] = [one for one in resources.list() if one.device_ids]
        assert (one.namespace, one.pod, one.container) == (namespace, "inference", "burner")
        assert one.resource == _RESOURCE
        return [device_of(number) for number in one.device_ids] == [_GPU]

    eventually(held, seconds=60, what="the kubelet tells the allocation")
    library = compile_nvml(tmp_path)
    # A GPU that draws the same all the time has no energy that only its work can explain.
    environment = {"LD_LIBRARY_PATH": str(library), "FAKE_NVML": "dark1,pulses"}
    with exporter(
        "--pod-resources", str(socket), FAKE_NVML_PROCESSES="99999:60:C", **environment
    ) as running:
        running.wait_ready()

        def told() -> dict[str, float]:
            _, _, body = running.get("/metrics")
            families = {f.name: f for f in text_string_to_metric_families(body.decode())}
            energies = families["joulery_pod_energy_joules"].samples
            found = {s.labels["pod"]: s.value for s in energies if s.labels["device"] == "gpu-0"}
            return found if any(found.values()) else {}

        told_j = eventually(told, seconds=60, what="a pod has energy of the GPU")
    assert set(told_j) == {"inference"}
    cluster.kubectl("delete", "pod", "inference", "--namespace", namespace, "--force")

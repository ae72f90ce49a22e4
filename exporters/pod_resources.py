"""Which container has which device: the kubelet's pod-resources API, version 1.

Messages and field numbers: k8s.io/kubelet/pkg/apis/podresources/v1/api.proto. They are described
here in code, only as far as they are read. grpcio is imported by the first call, so that a node
without accelerators does not pay for it.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable

__all__ = ["Allocation", "PodResources", "device_of", "messages"]

_METHOD = "/v1.PodResourcesLister/List"
_LIMIT_S = 5.0
_MOST_BYTES = 16 * 1024 * 1024
"""What the kubelet's own clients take."""

_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "ListPodResourcesRequest": {},
    "ListPodResourcesResponse": {"pod_resources": (1, "PodResources*")},
    "PodResources": {
        "name": (1, "string"),
        "namespace": (2, "string"),
        "containers": (3, "ContainerResources*"),
    },
    "ContainerResources": {
        "name": (1, "string"),
        "devices": (2, "ContainerDevices*"),
        "dynamic_resources": (5, "DynamicResource*"),
    },
    "ContainerDevices": {"resource_name": (1, "string"), "device_ids": (2, "string*")},
    "DynamicResource": {"claim_resources": (4, "ClaimResource*")},
    "ClaimResource": {"driver_name": (2, "string"), "device_name": (4, "string")},
}
"""Number and type of each message's fields; "*": any number of them."""

_REPLICA = re.compile(r"((?:GPU|MIG)-.+)::[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Devices of one resource that a container has.

    Args:
        namespace: Of the pod.
        pod: Its name; the kubelet does not tell its uid.
        container: Its name in the pod.
        resource: Such as "nvidia.com/gpu"; of dynamically allocated ones their driver's name, such
            as "gpu.nvidia.com".
        device_ids: As the device plugin, or the driver, calls them.
    """

    namespace: str
    pod: str
    container: str
    resource: str
    device_ids: tuple[str, ...]


def device_of(device_id: str) -> str:
    """Return what a device plugin's id names: the UUID of an NVIDIA GPU or of a MIG instance.

    A time-sliced or MPS replica `GPU-…::3` is the GPU `GPU-…`. Other ids are returned as they are.
    """
    match = _REPLICA.fullmatch(device_id)
    return device_id if match is None else match[1]


@cache
def messages() -> dict[str, Any]:
    """Return the classes of the API's messages by name.

    Raises:
        SourceUnavailable: protobuf is not installed.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise _not_installed("protobuf") from error
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="podresources.proto", package="v1")
    file.syntax = "proto3"
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            many, kind = kind.endswith("*"), kind.rstrip("*")
            one = message.field.add(name=field_name, number=number)
            one.label = field.LABEL_REPEATED if many else field.LABEL_OPTIONAL
            if kind == "string":
                one.type = field.TYPE_STRING
            else:
                one.type, one.type_name = field.TYPE_MESSAGE, f".v1.{kind}"
    # A pool of our own: in the common one, someone else may have described the same API.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"v1.{name}"))
        for name in _MESSAGES
    }


def _not_installed(package: str) -> SourceUnavailable:
    return SourceUnavailable(
        "pod-resources API",
        found=f"no {package}",
        remedy=f"install {package}, with which the kubelet is asked for devices",
    )


def _allocations(response: Any) -> Iterator[Allocation]:
    for pod in response.pod_resources:
        for container in pod.containers:
            ids: dict[str, list[str]] = {}
            # One resource comes in several parts, for instance by NUMA node.
            for devices in container.devices:
                ids.setdefault(devices.resource_name, []).extend(devices.device_ids)
            for claimed in container.dynamic_resources:
                for device in claimed.claim_resources:
                    if device.device_name:  # older kubelets do not tell it
                        ids.setdefault(device.driver_name, []).append(device.device_name)
            for resource, device_ids in ids.items():
                yield Allocation(
                    namespace=pod.namespace,
                    pod=pod.name,
                    container=container.name,
                    resource=resource,
                    device_ids=tuple(dict.fromkeys(device_ids)),
                )


class PodResources:
    """Asks the kubelet who has which device; the connection stays, and is made anew when it broke.

    Args:
        path: The kubelet's socket, usually `/var/lib/kubelet/pod-resources/kubelet.sock`.
        limit_s: How long an answer may take.
    """

    def __init__(self, path: Path, *, limit_s: float = _LIMIT_S) -> None:
        self._path = path
        self._limit_s = limit_s
        self._channel: Any = None
        self._ask: Any = None
        self._lock = threading.Lock()

    def list(self) -> tuple[Allocation, ...]:
        """Return the devices that containers have now.

        Raises:
            SourceUnavailable: There is no socket, the kubelet does not know this API, or grpcio
                is not installed.
            SourceForbidden: The socket may not be used.
            SourceFailed: The kubelet does not answer, as while it restarts, or refuses for now;
                the next call connects anew.
        """
        try:
            import grpc
        except ImportError as error:
            raise _not_installed("grpcio") from error
        with self._lock:
            if self._ask is None:
                self._connect(grpc)
            try:
                response = self._ask(messages()["ListPodResourcesRequest"](), timeout=self._limit_s)
            except grpc.RpcError as error:
                self._close()
                raise self._explained(error, grpc.StatusCode) from error
        return tuple(_allocations(response))

    def _connect(self, grpc: Any) -> None:
        self._try_socket()
        self._channel = grpc.insecure_channel(
            f"unix:{self._path.absolute()}",
            options=[
                ("grpc.max_receive_message_length", _MOST_BYTES),
                # The path of a socket is no valid host name, and servers may refuse it as one.
                ("grpc.default_authority", "localhost"),
                # Shared with an older channel, a connection would wait as that one waited.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._ask = self._channel.unary_unary(
            _METHOD,
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=messages()["ListPodResourcesResponse"].FromString,
        )

    def _try_socket(self) -> None:
        """Connect once by hand, for gRPC calls missing, forbidden and refused all the same."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
                trial.settimeout(self._limit_s)
                trial.connect(str(self._path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceUnavailable(
                self._subject,
                found="no socket",
                remedy="mount the kubelet's folder pod-resources there, or name its socket by "
                "--pod-resources",
            ) from error
        except PermissionError as error:
            raise SourceForbidden(
                self._subject, remedy="run as root, or as the owner of the socket"
            ) from error
        except OSError as error:
            raise SourceFailed(self._subject, found=error.strerror or str(error)) from error

    @property
    def _subject(self) -> str:
        return f"pod-resources API {self._path}"

    def _explained(self, error: Any, status: Any) -> SourceError:
        code = error.code()
        found = f"{code.name}: {str(error.details())[:200]}"
        if code is status.UNIMPLEMENTED:
            return SourceUnavailable(
                self._subject,
                found=found,
                expected="version 1",
                remedy="it came with Kubernetes 1.20",
            )
        if code in {status.PERMISSION_DENIED, status.UNAUTHENTICATED}:
            return SourceForbidden(self._subject, found=found, remedy="ask as root")
        if code is status.DEADLINE_EXCEEDED:
            return SourceFailed(self._subject, found=f"no answer in {self._limit_s:g} s")
        return SourceFailed(self._subject, found=found)

    def _close(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = self._ask = None

    def close(self) -> None:
        """Close the connection; the next call makes another."""
        with self._lock:
            self._close()

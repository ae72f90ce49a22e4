"""NVIDIA's management library (NVML): its GPUs, its field values, and its errors told apart.

Both who reads energy (`sources.nvml`) and who reads work (`gpu`) come through here. The client is
the module `pynvml` of nvidia-ml-py; nothing here imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import SourceFailed, SourceForbidden, SourceUnavailable

__all__ = ["Board", "Driver", "field_values", "powers_w"]

T = TypeVar("T")

_REMEDY = "give this user access to /dev/nvidia* (for instance the group 'video')"

_UNION = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Members of `nvmlValue_t`, in the order of `nvmlValueType_t`: the type differs by driver."""


class Driver:
    """The library, initialised.

    Args:
        client: The module `pynvml`.

    Attributes:
        denied: GPUs that this user may not use, with the reason, once `boards` was called.

    Raises:
        SourceUnavailable: There is no driver.
        SourceForbidden: It does not let this user in.
        SourceFailed: It answers with another error.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self.denied: dict[int, str] = {}
        with self.explained("nvml"):
            client.nvmlInit()

    @contextmanager
    def explained(self, subject: str) -> Iterator[None]:
        """Turn NVML's errors into ours, about `subject`."""
        client = self.client
        try:
            yield
        except (client.NVMLError_LibraryNotFound, client.NVMLError_DriverNotLoaded) as error:
            raise SourceUnavailable(subject, found=f"no NVIDIA driver ({error})") from error
        except client.NVMLError_NoPermission as error:
            raise SourceForbidden(subject, found=str(error), remedy=_REMEDY) from error
        except client.NVMLError_LibRmVersionMismatch as error:
            raise SourceFailed(
                subject,
                found=str(error),
                expected="a library as old as the loaded kernel module",
                remedy="the driver was updated: reboot, or load its kernel modules again",
            ) from error
        except client.NVMLError as error:
            raise SourceFailed(subject, found=str(error)) from error

    def ask(self, call: Callable[..., T], *arguments: object) -> T | None:
        """Return what a call answers, or `None` where the GPU or the driver has no such thing."""
        client = self.client
        try:
            return call(*arguments)
        except (client.NVMLError_NotSupported, client.NVMLError_FunctionNotFound):
            return None

    def boards(self) -> tuple[Board, ...]:
        """Return every GPU of the machine, those that are lost right now included.

        Raises:
            SourceUnavailable: There is none.
            SourceForbidden: This user may use none of them.
            SourceFailed: The driver answers with another error.
        """
        client = self.client
        with self.explained("nvml"):
            indices = range(client.nvmlDeviceGetCount())
        if not indices:
            raise SourceUnavailable("nvml", found="no GPU")
        boards = []
        for index in indices:
            try:
                boards.append(Board(self, index))
            except client.NVMLError_NoPermission as error:
                refusal = error  # another's GPU: nvmlDeviceGetCount_v2 counts those as well
                self.denied[index] = f"may not be used: {error}"
        if not boards:
            with self.explained("nvml"):
                raise refusal
        return tuple(boards)


class Board:
    """One GPU, found again by its UUID after it was lost.

    A handle does not survive a reset of its GPU, so after any failure it is looked up anew.

    Attributes:
        index: The driver's number.
        uuid: Its lasting name; `None` while it was lost ever since it was first looked for.
        model: What it is, for people.
        failure: Why it could not be opened; `None` once it could.
    """

    def __init__(self, driver: Driver, index: int) -> None:
        self.driver, self.index = driver, index
        self.uuid: str | None = None
        self.model = "unknown GPU"
        self.failure: str | None = None
        self._handle: Any = None
        try:
            self._open()
        except driver.client.NVMLError_NoPermission:
            raise
        except driver.client.NVMLError as error:
            self.failure = str(error)

    def read(self, call: Callable[[Any], T]) -> T:
        """Return what a call says about the GPU's handle.

        Raises:
            NVMLError: Of the client: as the call, or the search for the handle, raises it.
        """
        if self._handle is None:
            self._open()
        try:
            return call(self._handle)
        except (
            self.driver.client.NVMLError_NotSupported,
            self.driver.client.NVMLError_FunctionNotFound,
            self.driver.client.NVMLError_NotFound,
        ):
            raise  # an answer, from a GPU that is there
        except self.driver.client.NVMLError:
            self._handle = None
            raise

    def forget(self) -> None:
        """Look the handle up again before the next read: what it said made no sense."""
        self._handle = None

    def _open(self) -> None:
        client = self.driver.client
        if self.uuid is None:
            handle = client.nvmlDeviceGetHandleByIndex(self.index)
            self.model = client.nvmlDeviceGetName(handle)
            self.uuid = client.nvmlDeviceGetUUID(handle)
        else:
            handle = client.nvmlDeviceGetHandleByUUID(self.uuid)
        self._handle, self.failure = handle, None


def powers_w(
    client: Any, handle: Any, fields: Sequence[tuple[int, int]]
) -> tuple[float | None, ...]:
    """Return powers by field id and scope, in watts; `None` for what GPU or driver do not have.

    Vendor API: `nvmlDeviceGetFieldValues`, fields NVML_FI_DEV_POWER_* in milliwatts, scope 0 the
    GPU and 1 its module.

    Raises:
        NVMLError: Of the client: the GPU is lost, or may not be read.
    """
    values = field_values(client, handle, fields)
    return tuple(None if value is None else value / 1e3 for value in values)


def field_values(
    client: Any, handle: Any, fields: Sequence[tuple[int, int]]
) -> tuple[float | None, ...]:
    """Return field values by id and scope; `None` for what GPU or driver do not have.

    Vendor API: `nvmlDeviceGetFieldValues`; each field has the unit that nvml.h gives it.

    Raises:
        NVMLError: Of the client: the GPU is lost, or may not be read.
    """
    absent = (
        client.NVML_ERROR_NOT_SUPPORTED,
        client.NVML_ERROR_INVALID_ARGUMENT,  # drivers that know no such field, or no scope
        client.NVML_ERROR_NOT_FOUND,
    )
    try:
        values = client.nvmlDeviceGetFieldValues(handle, list(fields))
    except (
        client.NVMLError_NotSupported,
        client.NVMLError_FunctionNotFound,
        client.NVMLError_InvalidArgument,
    ):
        return (None,) * len(fields)
    found: list[float | None] = []
    for value in values:
        if value.nvmlReturn in absent:
            found.append(None)
        elif value.nvmlReturn != client.NVML_SUCCESS:
            raise client.NVMLError(value.nvmlReturn)
        else:
            found.append(float(getattr(value.value, _UNION[value.valueType])))
    return tuple(found)

"""What stood before a change of this machine, on the disk for as long as the change lasts.

It is there before anything is changed, so that even a kill leaves it to the next run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from ..datasets.folder import to_disk, write_text
from ..errors import TrialError

__all__ = ["Before"]

_T = TypeVar("_T")


class Before(Generic[_T]):
    """A file that holds what is to be put back.

    Args:
        folder: Where it stands.
        kind: What it holds, a dataclass.
        what: What was changed, for messages.
    """

    def __init__(self, folder: Path, kind: type[_T], what: str) -> None:
        self._file, self._form, self._what = folder / "before.json", TypeAdapter(kind), what

    def keep(self, found: _T) -> None:
        """Write what is there, whole, and wait until the disk has it."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._file.with_suffix(".tmp")
        write_text(scratch, self._form.dump_json(found).decode())
        to_disk(scratch)
        scratch.replace(self._file)
        to_disk(self._file.parent)

    def kept(self) -> _T | None:
        """Return what is to be put back; `None`: nothing is changed.

        Raises:
            TrialError: When nobody can read it.
        """
        try:
            return self._form.validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise self.not_restored("which nobody can read") from None

    def forget(self) -> None:
        """Let it go: all is as it was."""
        self._file.unlink()

    def not_restored(self, why: str) -> TrialError:
        """Return the error that something could not be put back."""
        return TrialError(
            str(self._file),
            found=f"{self._what} that a run has changed, {why}",
            expected="the right to put them back",
            remedy="run once more as root, or boot and remove the file",
        )

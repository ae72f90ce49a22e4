"""The frequency of CPUs: what the kernel's cpufreq lets it be, changed for a trial and put back.

Source: Linux, Documentation/admin-guide/pm/cpufreq.rst; its frequencies are in kHz.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import SpecError, TrialError
from ...profiler.host import Host, boot_id
from ..before import Before
from .spec import EnvironmentSpec

__all__ = ["Frequencies", "FrequencyLimits"]

_GOVERNOR, _HIGHEST, _LOWEST = "scaling_governor", "scaling_max_freq", "scaling_min_freq"
_FILES = (_GOVERNOR, _HIGHEST, _LOWEST)
"""In the order of putting back: the lowest frequency last, as it may not exceed the highest."""

_NEEDED = "leave `governor` and `max_frequency_mhz` out"

_Policy = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyLimits:
    """What the kernel says of some CPUs.

    Args:
        governor: What chooses their frequency; several by comma, where they differ.
        highest_hz: The highest that it may choose, hertz; of CPUs that differ the least.
    """

    governor: str
    highest_hz: float


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What was there before: of which boot, and each file's text by CPU."""

    boot: str
    cpus: dict[int, _Policy]


class Frequencies:
    """The frequencies of this machine's CPUs.

    Args:
        host: Where the kernel's files are.
        folder: Where what was there before stands for as long as it is changed.

    Attributes:
        host: This machine.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self._before = Before(folder, _Kept, "frequencies of CPUs")

    def limits(self, cpus: Collection[int]) -> FrequencyLimits | None:
        """Return what the kernel says now; `None` where it says nothing."""
        try:
            policies = [self._policy(cpu) for cpu in sorted(cpus)]
        except OSError:
            return None
        return FrequencyLimits(
            governor=", ".join(dict.fromkeys(policy[_GOVERNOR] for policy in policies)),
            highest_hz=min(1e3 * int(policy[_HIGHEST]) for policy in policies),
        )

    def check(
        self, wanted: EnvironmentSpec, cpus: Collection[int], subject: str, place: str
    ) -> None:
        """Refuse what cannot be set on this machine; nothing is changed.

        Args:
            wanted: The environment.
            cpus: Those that services will use.
            subject: The specification's file, for messages.
            place: Where the environment stands in it.

        Raises:
            SpecError: When governor or frequency are not to be had.
            TrialError: When there is no cpufreq, or it may not be changed.
        """
        changed = {_GOVERNOR: wanted.governor, _HIGHEST: wanted.max_frequency_mhz}
        for cpu in sorted(cpus):
            folder = self._folder(cpu)
            if not (folder / _GOVERNOR).exists():
                raise TrialError(
                    f"environment {wanted.name}",
                    found=f"no {folder}",
                    expected="a kernel that sets the frequency of CPUs",
                    remedy=f"on a virtual machine only its host can; {_NEEDED}",
                )
            for name in (name for name, value in changed.items() if value is not None):
                if not os.access(folder / name, os.W_OK, effective_ids=True):
                    raise TrialError(
                        f"environment {wanted.name}",
                        found=f"{folder / name}, which may not be written",
                        expected="the right to set the frequency of CPUs",
                        remedy=f"run as root, in a container with /sys writable; or {_NEEDED}",
                    )
            self._check_values(wanted, folder, subject, place)

    def restore(self) -> bool:
        """Put back what an earlier run left changed; return whether there was any.

        Raises:
            TrialError: When it cannot be put back.
        """
        kept = self._before.kept()
        if kept is None:
            return False
        is_ours = kept.boot == boot_id(self.host)  # a boot since then has put everything back
        if is_ours:
            try:
                for cpu, policy in kept.cpus.items():
                    for name in _FILES:
                        self._set(cpu, name, policy[name])
            except (TrialError, KeyError) as error:
                raise self._before.not_restored(str(error)) from None
        self._before.forget()
        return is_ours

    @contextlib.contextmanager
    def held(self, wanted: EnvironmentSpec, cpus: Collection[int]) -> Iterator[None]:
        """Set governor and highest frequency for as long as the block lasts.

        CPUs whose frequency the kernel ties to theirs change with them.

        Raises:
            TrialError: When the kernel refuses, or refuses to put it back.
        """
        policies = {self._folder(cpu).resolve(): cpu for cpu in sorted(cpus, reverse=True)}
        before = {cpu: self._policy(cpu) for cpu in policies.values()}
        try:
            self._before.keep(_Kept(boot=boot_id(self.host), cpus=before))
            for cpu, policy in before.items():
                if wanted.governor is not None:
                    self._set(cpu, _GOVERNOR, wanted.governor)
                if wanted.max_frequency_mhz is not None:
                    highest_khz = round(1e3 * wanted.max_frequency_mhz)
                    # Older kernels refuse a highest frequency below the lowest.
                    self._set(cpu, _LOWEST, str(min(int(policy[_LOWEST]), highest_khz)))
                    self._set(cpu, _HIGHEST, str(highest_khz))
            yield
        finally:
            self.restore()

    def _check_values(
        self, wanted: EnvironmentSpec, folder: Path, subject: str, place: str
    ) -> None:
        governors = _text(folder / "scaling_available_governors").split()
        if wanted.governor is not None and wanted.governor not in governors:
            raise SpecError(
                subject,
                place=f"{place}.governor",
                found=f"'{wanted.governor}'",
                expected=f"one of {', '.join(governors)}: what {folder} has",
            )
        low_mhz, high_mhz = (
            int(_text(folder / f"cpuinfo_{end}_freq")) / 1e3 for end in ("min", "max")
        )
        asked_mhz = wanted.max_frequency_mhz
        if asked_mhz is not None and not low_mhz <= asked_mhz <= high_mhz:
            raise SpecError(
                subject,
                place=f"{place}.max_frequency_mhz",
                found=f"{asked_mhz:g}",
                expected=f"{low_mhz:g} to {high_mhz:g}: what {folder} has",
            )

    def _folder(self, cpu: int) -> Path:
        return self.host.sys / f"devices/system/cpu/cpu{cpu}/cpufreq"

    def _policy(self, cpu: int) -> _Policy:
        return {name: _text(self._folder(cpu) / name) for name in _FILES}

    def _set(self, cpu: int, name: str, value: str) -> None:
        path = self._folder(cpu) / name
        try:
            path.write_text(value)
        except OSError as error:
            raise TrialError(
                str(path), found=error.strerror, expected=f"a kernel that takes {value}"
            ) from None


def _text(path: Path) -> str:
    return path.read_text().strip()

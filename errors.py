"""The error tree of joulery, and nothing else.

    JouleryError                 exit 1
    ├── SourceError              an energy source gave no usable reading
    │   ├── SourceUnavailable    there is no such sensor here
    │   ├── SourceForbidden      it is here, but may not be read; the remedy says how
    │   └── SourceFailed         it is here and readable, and answered nonsense or vanished
    ├── SpecError         exit 2 a campaign specification, or an option, is wrong
    ├── TrialError               a trial could not be carried out
    ├── DatasetError      exit 2 a data file or dataset cannot be used as it is
    └── PolicyError              a policy cannot decide

Every error carries its subject, and where it helps: place, found, expected, remedy.
"""

from __future__ import annotations

from typing import ClassVar, Self

__all__ = [
    "DatasetError",
    "JouleryError",
    "PolicyError",
    "SourceError",
    "SourceFailed",
    "SourceForbidden",
    "SourceUnavailable",
    "SpecError",
    "TrialError",
]


class JouleryError(Exception):
    """Something joulery can explain: what, where, what was found, what was expected, what to do.

    Args:
        subject: The thing that is wrong: a file, a source, a trial.
        place: Where in the subject: a line, a key, a column.
        found: What is there.
        expected: What should be there.
        remedy: What the reader can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        subject: str,
        *,
        place: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.subject = subject
        self.place = place
        self.found = found
        self.expected = expected
        self.remedy = remedy
        super().__init__(subject)

    def at(self, subject: str, place: str | None) -> Self:
        """Return the same of another subject and place: those that the reader knows."""
        return type(self)(
            subject, place=place, found=self.found, expected=self.expected, remedy=self.remedy
        )

    def __str__(self) -> str:
        """One line: `subject, place: found …, expected …; remedy`."""
        head = self.subject if self.place is None else f"{self.subject}, {self.place}"
        facts = [
            f"{word} {value}"
            for word, value in (("found", self.found), ("expected", self.expected))
            if value is not None
        ]
        text = f"{head}: {', '.join(facts)}" if facts else head
        return text if self.remedy is None else f"{text}; {self.remedy}"


class SourceError(JouleryError):
    """An energy source gave no usable reading."""


class SourceUnavailable(SourceError):
    """There is no such sensor on this machine."""


class SourceForbidden(SourceError):
    """The sensor is here, but this user may not read it."""


class SourceFailed(SourceError):
    """The sensor is here and readable, and answered nonsense or vanished."""


class SpecError(JouleryError):
    """A campaign specification or a command-line option is wrong."""

    exit_code = 2


class TrialError(JouleryError):
    """A trial could not be carried out."""


class DatasetError(JouleryError):
    """A data file or a dataset cannot be used as it is."""

    exit_code = 2


class PolicyError(JouleryError):
    """A policy cannot decide."""

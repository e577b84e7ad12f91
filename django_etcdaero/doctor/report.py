"""What an examination finds: values that the command prints, pages show and JSON carries."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any, Final

SCHEMA: Final = 1
"""Version of :meth:`Report.as_dict`: raised when a field changes its meaning or goes; new fields do not raise it."""


class Severity(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    INFO = "info"
    """Nothing is wrong; it is good to know."""
    WARNING = "warning"
    """It works, and will cause trouble."""
    ERROR = "error"
    """It does not work, or data is at risk."""
    NO_ANSWER = "no answer"
    """Who was asked did not answer in time, or cannot be reached."""
    NOT_PERMITTED = "not permitted"
    """The user of the settings may not ask this; nothing is known."""
    NOT_VISIBLE = "not visible"
    """There is no way to see this from here."""
    NOT_APPLICABLE = "not applicable"
    """There is no such thing in this kind of store."""

    @property
    def gravity(self) -> int:
        """0 for nothing wrong, 1 for a warning, 2 for an error; silence counts as an error, for nothing is known."""
        return _GRAVITY.get(self, 0)

    @property
    def is_failure(self) -> bool:
        """Whether what was looked at cannot be relied on: an error, silence, or no right to look."""
        return self in (Severity.ERROR, Severity.NO_ANSWER, Severity.NOT_PERMITTED)


_GRAVITY: Final = {Severity.WARNING: 1, Severity.ERROR: 2, Severity.NO_ANSWER: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check has found at one place."""

    check: str
    """Id of the check, such as ``etcd.quota``."""
    title: str
    """What the check looks at, in a few words."""
    place: str
    """Where it was looked: a store without credentials, an alias, or ``project``."""
    aliases: tuple[str, ...]
    """The aliases of ``ETCDAERO`` that it concerns; empty: none in particular."""
    severity: Severity
    seen: str
    """What was seen, in one sentence."""
    why: str
    """Why it matters."""
    remedy: str
    """The command that mends it, or what else to do; empty: nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All findings of an examination, ordered by place and check."""

    findings: tuple[Finding, ...]
    started: float
    """Seconds since the epoch."""
    seconds: float
    """How long it took."""

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Warnings, errors, and checks without an answer; the gravest first."""
        found = [each for each in self.findings if each.severity.gravity]
        return tuple(sorted(found, key=lambda each: -each.severity.gravity))

    @property
    def gravity(self) -> int:
        """0 when nothing is wrong, 1 with warnings, 2 with errors or silence."""
        return max((each.severity.gravity for each in self.findings), default=0)

    def count(self, severity: Severity) -> int:
        """Return how many checks ended so."""
        return sum(each.severity is severity for each in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as values of JSON; ``schema`` says of which version they are."""
        return {
            "schema": SCHEMA,
            "started": self.started,
            "seconds": self.seconds,
            "counts": {str(each): self.count(each) for each in Severity},
            "findings": [
                asdict(each) | {"severity": str(each.severity), "aliases": list(each.aliases)} for each in self.findings
            ],
        }

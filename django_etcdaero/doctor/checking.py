"""What a check is made of: probes ask and may take their time or fail; checks decide about what probes brought.

A probe brings one value from one subject. All that calls a store, reads a file or runs code of the project is in
probes, which the examination runs side by side, each in a thread and with a limit. A check is a pure function of what
its probes brought: it yields verdicts, and needs no thread and no limit. That all is well counts only where nothing
else is said, so a check says it in the end, whatever it has found. A probe that failed is met where its value is asked
for, and that is how a check ends which has nothing to say about it itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

from django_etcdaero.exceptions import (
    ClusterError,
    DeadlineExceeded,
    NotSupported,
    OutcomeUnknown,
    PermissionDenied,
    StoreBusy,
    Unauthenticated,
)
from django_etcdaero.system.error_text import message_of, text_of

from .report import Finding, Severity
from .subjects import Subject

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class NotVisible(Exception):
    """Raised by a probe for what cannot be seen from here; the message says why."""


@dataclass(frozen=True, eq=False)
class Probe(Generic[T_co]):
    """How to bring one value: ``ask(subject, timeout)`` returns it within ``timeout`` seconds, or raises."""

    name: str
    ask: Callable[[Any, float], T_co] = field(repr=False)
    writes: bool = False
    """Whether it writes to the store, which is done only where that was asked for."""


class Verdict(NamedTuple):
    """What a check says."""

    severity: Severity
    seen: str
    remedy: str = ""


def ok(seen: str) -> Verdict:
    """All is well, unless the check says something else as well; ``seen`` says how well."""
    return Verdict(Severity.OK, seen)


def info(seen: str, remedy: str = "") -> Verdict:
    """It is good to know."""
    return Verdict(Severity.INFO, seen, remedy)


def warning(seen: str, remedy: str) -> Verdict:
    """It will cause trouble."""
    return Verdict(Severity.WARNING, seen, remedy)


def error(seen: str, remedy: str) -> Verdict:
    """It does not work, or data is at risk."""
    return Verdict(Severity.ERROR, seen, remedy)


def not_visible(seen: str) -> Verdict:
    """It cannot be seen from here; ``seen`` says why."""
    return Verdict(Severity.NOT_VISIBLE, seen)


class Facts:
    """What the probes of one subject brought: by probe the value, or the exception that came instead."""

    def __init__(self, subject: Any, brought: Mapping[Probe[Any], Any]) -> None:
        self.subject = subject
        self._brought = brought

    def __getitem__(self, probe: Probe[T]) -> T:
        """Return the value. Raises what the probe raised."""
        value = self._brought[probe]
        if isinstance(value, BaseException):
            raise value
        return cast("T", value)

    def get(self, probe: Probe[T]) -> T | None:
        """Return the value, or ``None`` if the probe failed."""
        return None if self.failure(probe) is not None else self[probe]

    def failure(self, probe: Probe[Any]) -> BaseException | None:
        """Return what the probe raised; ``None``: it brought a value."""
        value = self._brought[probe]
        return value if isinstance(value, BaseException) else None


Verdicts: TypeAlias = Iterable[Verdict]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing to look at."""

    id: str
    title: str
    """What it looks at, in a few words."""
    why: str
    """Why that matters."""
    subject: type[Subject]
    """The class of the subjects that it is for."""
    needs: tuple[Probe[Any], ...]
    judge: Callable[[Facts], Verdicts] = field(repr=False)

    @property
    def area(self) -> str:
        """The part of the id before the first dot."""
        return self.id.partition(".")[0]

    @property
    def writes(self) -> bool:
        """Whether a probe of it writes."""
        return any(probe.writes for probe in self.needs)

    def findings(self, facts: Facts) -> Iterator[Finding]:
        """Yield what there is to say of a subject; never raises."""
        try:
            verdicts = tuple(self.judge(facts))
        except Exception as failure:  # of the probe, or of a check that did not expect what it brought
            verdicts = (verdict_on(failure),)
        others = [each for each in verdicts if each.severity is not Severity.OK]
        for verdict in others or verdicts:
            yield Finding(
                check=self.id,
                title=self.title,
                place=facts.subject.place,
                aliases=facts.subject.aliases,
                severity=verdict.severity,
                seen=verdict.seen,
                why=self.why,
                remedy=verdict.remedy,
            )


def check(
    id: str,  # noqa: A002 - what it is called everywhere else
    title: str,
    *,
    of: type[Subject],
    needs: tuple[Probe[Any], ...],
    why: str,
) -> Callable[[Callable[[Facts], Verdicts]], Check]:
    """Make a :class:`Check` of the function below, which judges."""

    def make(judge: Callable[[Facts], Verdicts]) -> Check:
        return Check(id=id, title=title, why=why, subject=of, needs=needs, judge=judge)

    return make


_SILENT = (ClusterError, DeadlineExceeded, StoreBusy, OutcomeUnknown)


def verdict_on(failure: BaseException) -> Verdict:
    """Return what a check says whose probe failed, or that failed itself."""
    if isinstance(failure, NotVisible):
        return Verdict(Severity.NOT_VISIBLE, str(failure))
    if isinstance(failure, NotSupported):
        return Verdict(Severity.NOT_APPLICABLE, message_of(failure))
    if isinstance(failure, PermissionDenied | Unauthenticated):
        return Verdict(Severity.NOT_PERMITTED, message_of(failure))
    if isinstance(failure, _SILENT):
        return Verdict(Severity.NO_ANSWER, message_of(failure))
    return Verdict(Severity.ERROR, f"the check failed: {text_of(failure)}")


def failed(failure: BaseException, remedy: str) -> Verdict:
    """Return what a check says for which it is an error, or silence, that a probe failed, whatever the reason."""
    found = verdict_on(failure)
    return Verdict(found.severity if found.severity.gravity else Severity.ERROR, found.seen, remedy)

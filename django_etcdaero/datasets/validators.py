"""Validators: the last word before a freshly loaded dataset replaces the one that is being served.

A validator is any callable ``validator(old, new)``. ``old`` is a read-only mapping of the rows that are current now
(``None`` before the first publish; its rows are fetched only when looked at, its length is free), ``new`` the rows just
loaded; the dicts and lists of both refuse to be changed. It accepts by returning ``None``, ``True`` or
:class:`Accepted`, which says what was measured, and refuses by raising, best ``ValidationFailed`` with a reason for
people, or by returning ``False`` or a text.

Those here are frozen dataclasses, so that a threshold can be given another value without new code
(:mod:`.publish.thresholds`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeAlias

from django_etcdaero.exceptions import ConfigurationError, EtcdAeroError, ValidationFailed
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.interruption import interrupts

Rows: TypeAlias = Mapping[Any, Any]
Validator: TypeAlias = Callable[[Rows | None, Rows], object]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a validator may return to accept and say what it has measured."""

    text: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorResult:
    """What one validator said of one load."""

    name: str
    ok: bool
    text: str = ""
    """In words; why it refused."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What it measured, and its thresholds, by name."""
    overridden: bool = False
    """Whether a setting in the key-value store took the place of what the code says."""


class RowCounts(NamedTuple):
    """How many rows differ between two versions."""

    added: int
    removed: int
    changed: int


def count_changes(old: Rows, new: Rows) -> RowCounts:
    """Compare two states of a dataset.

    The rows that validators get as ``old`` compare by the names of blocks (their method ``changes``), and so fetch only
    blocks that differ; any other mapping is compared row by row.
    """
    by_blocks = getattr(old, "changes", None)
    if by_blocks is not None:
        counted: RowCounts = by_blocks(new)
        return counted
    common = [key for key in old if key in new]
    changed = sum(old[key] is not new[key] and old[key] != new[key] for key in common)
    return RowCounts(len(new) - len(common), len(old) - len(common), changed)


def changed_rows(new: Rows) -> Rows:
    """Return the rows that a validator which looks at each row by itself has to look at: where only changes were loaded
    those that are new or other than they were (the others were looked at before), else all.
    """
    only_changed: Rows = getattr(new, "only_changed", new)
    return only_changed


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.4g}%"


@dataclass(frozen=True, slots=True)
class MinRows:
    """Refuse fewer than ``minimum`` rows."""

    minimum: int

    def __post_init__(self) -> None:
        if not isinstance(self.minimum, int) or self.minimum < 0:  # type: ignore[redundant-expr] # not all use a checker
            raise ConfigurationError(f"MinRows(minimum={self.minimum!r}): must be a whole number, 0 or more")

    def __call__(self, old: Rows | None, new: Rows) -> Accepted:
        figures = {"rows": len(new), "minimum": self.minimum}
        if len(new) < self.minimum:
            raise ValidationFailed(f"{len(new):,} rows, and at least {self.minimum:,} are required", figures)
        return Accepted(f"{len(new):,} rows", figures)


@dataclass(frozen=True, slots=True)
class _Fraction:
    """A validator with a threshold: a fraction of the rows that are current."""

    fraction: float
    _most: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        number: Any = self.fraction  # not all use a type checker
        if not isinstance(number, int | float) or not 0 <= number <= self._most:
            said = "from 0 to 1" if self._most == 1 else "a number, 0 or more"
            raise ConfigurationError(f"{type(self).__name__}(fraction={self.fraction!r}): must be {said}")


@dataclass(frozen=True, slots=True)
class MaxShrink(_Fraction):
    """Refuse to lose more than ``fraction`` (0 to 1) of the rows in one refresh."""

    def __call__(self, old: Rows | None, new: Rows) -> Accepted | None:
        if not old:
            return None
        figures = {"old": len(old), "new": len(new), "fraction": self.fraction}
        if len(new) < len(old) * (1 - self.fraction):
            raise ValidationFailed(
                f"the rows fall from {len(old):,} to {len(new):,}, by more than {_percent(self.fraction)}", figures
            )
        return Accepted(f"{len(old):,} rows before, {len(new):,} now", figures)


@dataclass(frozen=True, slots=True)
class RowCountVariance(_Fraction):
    """Refuse a number of rows that differs from the current one by more than ``fraction`` of it, up or down."""

    _most: ClassVar[float] = float("inf")

    def __call__(self, old: Rows | None, new: Rows) -> Accepted | None:
        if not old:
            return None
        figures = {"old": len(old), "new": len(new), "fraction": self.fraction}
        if abs(len(new) - len(old)) > len(old) * self.fraction:
            raise ValidationFailed(
                f"the rows go from {len(old):,} to {len(new):,}, by more than {_percent(self.fraction)}", figures
            )
        return Accepted(f"{len(old):,} rows before, {len(new):,} now", figures)


@dataclass(frozen=True, slots=True)
class _MaxChanges(_Fraction):
    """A threshold for the rows that were added, removed or changed."""

    _kind: ClassVar[str]

    def __call__(self, old: Rows | None, new: Rows) -> Accepted | None:
        if not old:
            return None
        count = getattr(count_changes(old, new), self._kind)
        figures = {"old": len(old), self._kind: count, "fraction": self.fraction}
        text = f"{count:,} rows {self._kind}, {_percent(count / len(old))} of {len(old):,}"
        if count > len(old) * self.fraction:
            raise ValidationFailed(f"{text}; at most {_percent(self.fraction)} may be", figures)
        return Accepted(text, figures)


@dataclass(frozen=True, slots=True)
class MaxAdded(_MaxChanges):
    """Refuse more new keys than ``fraction`` (0 or more) of the rows that are current."""

    _kind: ClassVar[str] = "added"
    _most: ClassVar[float] = float("inf")


@dataclass(frozen=True, slots=True)
class MaxRemoved(_MaxChanges):
    """Refuse to remove more than ``fraction`` (0 to 1) of the keys that are current, whatever is added."""

    _kind: ClassVar[str] = "removed"


@dataclass(frozen=True, slots=True)
class MaxChanged(_MaxChanges):
    """Refuse other rows under more than ``fraction`` (0 to 1) of the keys that are current."""

    _kind: ClassVar[str] = "changed"


def judge(validator: Validator, old: Rows | None, new: Rows) -> ValidatorResult:
    """Run one validator. Raises what the stores raise, for old rows that cannot be fetched."""
    name = getattr(validator, "__name__", None) or type(validator).__name__
    try:
        verdict = validator(old, new)
    except ValidationFailed as error:
        return ValidatorResult(name=name, ok=False, text=f"{name}: {error}", figures=error.figures)
    except EtcdAeroError:
        raise  # the old rows could not be fetched: not the validator's word
    except BaseException as error:
        if interrupts(error):
            raise
        return ValidatorResult(name=name, ok=False, text=f"{name} raised {text_of(error)}")
    if isinstance(verdict, Accepted):
        return ValidatorResult(name=name, ok=True, text=str(verdict.text), figures=_as_figures(verdict.figures))
    if verdict is None or verdict is True:
        return ValidatorResult(name=name, ok=True)
    said = verdict if isinstance(verdict, str) else "refused the new rows"
    return ValidatorResult(name=name, ok=False, text=f"{name}: {said}")


def _as_figures(given: object) -> dict[str, float]:
    """Leave out what a validator of the project gives that is none: it has said its word all the same."""
    return dict(given) if isinstance(given, Mapping) else {}


def validate(
    validators: Iterable[Validator],
    old: Rows | None,
    new: Rows,
    *,
    overridden: Iterable[Validator] = (),
    results: list[ValidatorResult] | None = None,
) -> None:
    """Run all validators. Raises ``ValidationFailed`` for the first that refuses, naming it.

    What each said is added to ``results``; those in ``overridden`` are marked there.
    """
    marked = {id(each) for each in overridden}
    for validator in validators:
        result = judge(validator, old, new)
        if results is not None:
            results.append(dataclasses.replace(result, overridden=id(validator) in marked))
        if not result.ok:
            raise ValidationFailed(result.text, result.figures)

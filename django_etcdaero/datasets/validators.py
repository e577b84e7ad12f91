"""Validators: the last word before a freshly loaded dataset replaces the one that is being served.

A validator is any callable ``validator(old, new)``. ``old`` is a read-only mapping of the rows that are current now
(``None`` before the first publish; its rows are fetched only when looked at, its length is free), ``new`` the rows just
loaded; the dicts and lists of both refuse to be changed. It accepts by returning ``None`` or ``True`` and refuses by
raising, best ``ValidationFailed`` with a reason for people, or by returning ``False`` or a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from django_etcdaero.exceptions import ConfigurationError, EtcdAeroError, ValidationFailed
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.interruption import interrupts

Rows: TypeAlias = Mapping[Any, Any]
Validator: TypeAlias = Callable[[Rows | None, Rows], object]


@dataclass(frozen=True, slots=True)
class MinRows:
    """Refuse fewer than ``minimum`` rows."""

    minimum: int

    def __post_init__(self) -> None:
        if not isinstance(self.minimum, int) or self.minimum < 0:  # type: ignore[redundant-expr] # not all use a checker
            raise ConfigurationError(f"MinRows(minimum={self.minimum!r}): must be a whole number, 0 or more")

    def __call__(self, old: Rows | None, new: Rows) -> None:
        if len(new) < self.minimum:
            raise ValidationFailed(f"{len(new):,} rows, and at least {self.minimum:,} are required")


@dataclass(frozen=True, slots=True)
class MaxShrink:
    """Refuse to lose more than ``fraction`` (0 to 1) of the rows in one refresh."""

    fraction: float

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ConfigurationError(f"MaxShrink(fraction={self.fraction!r}): must be from 0 to 1")

    def __call__(self, old: Rows | None, new: Rows) -> None:
        if old and len(new) < len(old) * (1 - self.fraction):
            raise ValidationFailed(f"the rows fall from {len(old):,} to {len(new):,}, by more than {self.fraction:.0%}")


def validate(validators: Iterable[Validator], old: Rows | None, new: Rows) -> None:
    """Run all validators. Raises ``ValidationFailed`` for the first that refuses, naming it."""
    for validator in validators:
        name = getattr(validator, "__name__", None) or type(validator).__name__
        try:
            verdict = validator(old, new)
        except ValidationFailed as error:
            raise ValidationFailed(f"{name}: {error}") from error
        except EtcdAeroError:
            raise  # the old rows could not be fetched: not the validator's word
        except BaseException as error:
            if interrupts(error):
                raise
            raise ValidationFailed(f"{name} raised {text_of(error)}") from error
        if verdict is not None and verdict is not True:
            raise ValidationFailed(f"{name}: {verdict if isinstance(verdict, str) else 'refused the new rows'}")

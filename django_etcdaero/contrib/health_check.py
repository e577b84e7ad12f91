"""Checks for django-health-check 4 (``pip install django-etcdaero[health-check]``).

.. code-block:: python

   HealthCheckView.as_view(checks=["django_etcdaero.contrib.health_check.Datasets", ...])

:class:`Datasets` asks no store. The others run checks of :mod:`django_etcdaero.doctor`, and fail when one of them ends
with an error, without an answer or for lack of permission.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import ClassVar

from .extras import missing

try:
    from health_check.base import HealthCheck
    from health_check.exceptions import ServiceUnavailable
except ImportError as error:
    raise missing(__name__, "django-health-check", "health-check") from error

from django_etcdaero.doctor import examine
from django_etcdaero.exceptions import InvalidRequest

from .health.fitness import unfit


@dataclasses.dataclass
class Datasets(HealthCheck):
    """Every required dataset can be read in this process: loaded, and not older than its ``max_stale``.

    ``names``: the datasets that are required; by default those of ``ETCDAERO_HEALTH``, or those that say so themselves.
    """

    names: Sequence[str] | None = None

    def run(self) -> None:
        """Raise ``ServiceUnavailable`` naming those that cannot be read."""
        found = unfit(self.names)
        if found:
            raise ServiceUnavailable("; ".join(f"{each.name}: {each.reason}" for each in found))


@dataclasses.dataclass
class Doctor(HealthCheck):
    """Checks of the doctor, such as ``only=("etcd", "datasets")``; ``aliases`` ``None``: of all, and of the caches."""

    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    aliases: Sequence[str] | None = None
    timeout: datetime.timedelta = dataclasses.field(default=datetime.timedelta(seconds=5), repr=False)

    def run(self) -> None:
        """Raise ``ServiceUnavailable`` with what was found."""
        _raise_for(self.only, self.skip, self.aliases, self.timeout)


@dataclasses.dataclass
class _OfAlias(HealthCheck):
    check: ClassVar[str]
    """Of the doctor."""

    alias: str = "default"
    timeout: datetime.timedelta = dataclasses.field(default=datetime.timedelta(seconds=5), repr=False)

    def run(self) -> None:
        """Raise ``ServiceUnavailable`` with the reason."""
        _raise_for((self.check,), (), (self.alias,), self.timeout)


class KeyValue(_OfAlias):
    """The keys of an alias can be read."""

    check = "kv.read"


class Records(_OfAlias):
    """The records of an alias can be read."""

    check = "records.read"


def _raise_for(
    only: Sequence[str], skip: Sequence[str], aliases: Sequence[str] | None, timeout: datetime.timedelta
) -> None:
    try:
        report = examine(only=only, skip=skip, aliases=aliases, timeout=timeout.total_seconds())
    except InvalidRequest as error:
        raise ServiceUnavailable(str(error)) from None
    failed = [each for each in report.findings if each.severity.is_failure]
    if failed or not report.findings:
        told = "; ".join(f"{each.check}: {each.seen}" for each in failed)
        raise ServiceUnavailable(told or f"there is nothing to check: {', '.join(aliases or ())}")

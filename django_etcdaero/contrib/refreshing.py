"""What the tasks of all task queues do, so that it can be tested and used without one.

A task refreshes as ``manage.py etcdaero_refresh`` does: what is due, under the lock. So a task that runs twice, late,
or on two workers at once loads once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.publish.uncommitted import refuse_in_transaction
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.datasets.state.status import RefreshResult
from django_etcdaero.exceptions import RefreshFailed
from django_etcdaero.management.one_by_one import OneByOne
from django_etcdaero.runtime import runtime


def refresh(name: str, *, force: bool = False) -> dict[str, Any]:
    """Refresh one dataset if it is due, or at once with ``force``; return what happened, as JSON has it.

    Raises ``KeyNotFound`` for an unknown name, ``RefreshInTransaction``, and ``RefreshFailed``.
    """
    result = datasets[name].refresh(force=force)
    _check([result])
    return _as_json(result)


def refresh_due() -> list[dict[str, Any]]:
    """Refresh one after the other the datasets that are due; return what happened to each, ordered by name.

    Raises ``RefreshInTransaction``, and ``RefreshFailed`` at the end if any of them failed.
    """
    refuse_in_transaction(runtime, "refresh_due()")
    one_by_one, results = OneByOne(in_threads=False), []
    for _, dataset in sorted(datasets.items()):
        results.append(one_by_one.run(dataset, partial(_begin, dataset)))
    _check(results)
    return [_as_json(each) for each in results]


def _begin(dataset: Dataset[Any, Any], on_overdue: Callable[[RefreshResult], None]) -> Refresh:
    return Refresh(dataset, runtime, on_overdue=on_overdue)


def _check(results: list[RefreshResult]) -> None:
    failed = [f"{each.name}: {each.outcome}: {each.error}" for each in results if not each.ok]
    if failed:
        raise RefreshFailed("; ".join(failed))


def _as_json(result: RefreshResult) -> dict[str, Any]:
    return {
        each.name: str(value) if each.name == "outcome" else value
        for each in dataclasses.fields(result)
        if each.name not in ("validators", "dry_run")
        for value in [getattr(result, each.name)]
    }

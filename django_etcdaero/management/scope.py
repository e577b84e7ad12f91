"""What a command acts on: datasets and aliases that were named, and whether other processes see what it does."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError

from django_etcdaero import conf, datasets
from django_etcdaero.checks import stores_in_memory
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.runtime import runtime


def chosen_datasets(names: tuple[str, ...]) -> list[Dataset[Any, Any]]:
    """Return the datasets of these names, all of them where there are no names.

    Raises ``CommandError`` (exit code 2) for an unknown name, and when no app declares a dataset.
    """
    unknown = [name for name in names if name not in datasets]
    if unknown:
        known = ", ".join(sorted(datasets)) or "none"
        raise CommandError(f"no such dataset: {', '.join(unknown)}; known: {known}", returncode=2)
    if not datasets:
        raise CommandError(
            "no app declares a dataset (in a module 'datasets' of an app in INSTALLED_APPS)", returncode=2
        )
    return [datasets[name] for name in (dict.fromkeys(names) or sorted(datasets))]


def chosen_aliases(using: str | None) -> tuple[str, ...]:
    """Return the alias that was named, all of them where none was. Raises ``CommandError`` (exit code 2) if unknown."""
    known = conf.aliases()
    if using is None:
        return known
    if using not in known:
        raise CommandError(f"no such alias: {using}; known: {', '.join(known)}", returncode=2)
    return (using,)


def reach_warnings() -> list[str]:
    """Say why what a command does may be of no use to other processes; in a test run that is as it should be."""
    return [] if runtime.memory_only else [f"{each.msg} {each.hint}" for each in stores_in_memory()]

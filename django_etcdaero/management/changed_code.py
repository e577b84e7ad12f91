"""While somebody develops: loads of datasets whose code has changed since the last one.

Without it rows that are not due for a while, or only on request, would stay those of the old ``load()``, and nobody
would be told why. The code of a dataset is the file that declares it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import Any

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.state.reading import read_loads
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.runtime import Runtime
from django_etcdaero.system.error_text import text_of

logger = logging.getLogger("django_etcdaero.refresh")


def request_by_changed_code(datasets: Iterable[Dataset[Any, Any]], runtime: Runtime) -> None:
    """Ask for a load of each dataset whose file was changed after its last load began. Raises nothing of a store."""
    by_alias: dict[str, list[Dataset[Any, Any]]] = {}
    for dataset in datasets:
        by_alias.setdefault(dataset.using, []).append(dataset)
    for alias, those in by_alias.items():
        try:
            loads = read_loads(runtime.stores(alias).kv)
            for dataset in those:
                last = loads.get((dataset.name, dataset.schema))
                if last is not None and last.checked is not None and _changed(dataset) > last.checked.load_started:
                    dataset.request_refresh()
        except EtcdAeroError as error:
            logger.debug("whether code has changed could not be looked at: %s", text_of(error))


def _changed(dataset: Dataset[Any, Any]) -> float:
    """Return when the file was changed, seconds since the epoch; 0 where there is none."""
    file = getattr(sys.modules.get(type(dataset).__module__), "__file__", None)
    try:
        return os.stat(file).st_mtime if file else 0.0
    except OSError:
        return 0.0

"""Asking the refreshers to write again what a version lacks."""

from __future__ import annotations

import logging
from typing import Any

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.schedule import request_load
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import EtcdAeroError

logger = logging.getLogger("django_etcdaero.datasets")


def ask_for_repair(dataset: Declared[Any, Any], stores: Stores) -> bool:
    """Ask for a repair unless somebody has; return whether one is asked for now. Never raises."""
    try:
        stored = read_state(stores.kv, dataset.layout(stores.prefix))
        if stored.pending is None or not stored.pending.repair:
            request_load(dataset, stores, repair=True)
    except EtcdAeroError as error:  # asked for again with the next try; what is damaged is the news
        logger.debug("dataset %s: a repair could not be asked for: %s", dataset.name, error)
        return False
    return True

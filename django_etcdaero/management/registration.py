"""The registration of a refresh service under each alias that its datasets use, for as long as it runs."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.state.refreshers import register
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import EtcdAeroError, PermissionDenied
from django_etcdaero.keyvalue.recipes.temporary import TemporaryKey

logger = logging.getLogger("django_etcdaero.refresh")


class Registration:
    """Says which of ``datasets`` this process refreshes."""

    def __init__(self, datasets: Iterable[Dataset[Any, Any]]) -> None:
        self._schemas: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for each in datasets:
            self._schemas[each.using][each.name] = each.schema
        self._started = time.time()
        self._mutex = threading.Lock()
        self._keys: dict[str, TemporaryKey | None] = {}

    def keep(self, alias: str, stores: Stores) -> None:
        """See to it that this process is registered under an alias, unless another thread is about to."""
        with self._mutex:
            if alias in self._keys:
                return
            self._keys[alias] = None
        try:
            key = register(stores.kv, self._schemas[alias], started=self._started)
        except PermissionDenied as error:  # it would be at the next look as well
            logger.info("alias %r: this refresh service may not register: %s", alias, error)
        except EtcdAeroError as error:
            logger.debug("alias %r: this refresh service could not be registered: %s", alias, error)
            with self._mutex:
                del self._keys[alias]  # at the next look
        else:
            with self._mutex:
                self._keys[alias] = key

    def end(self) -> None:
        """Take it back; what cannot be taken back is gone within its time to live."""
        with self._mutex:
            keys = [each for each in self._keys.values() if each is not None]
        for key in keys:
            with suppress(EtcdAeroError):
                key.close()

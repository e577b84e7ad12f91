"""What happens to datasets becomes Django signals and log lines."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from . import signals
from .exceptions import EtcdAeroError
from .system.error_text import message_of

if TYPE_CHECKING:
    from .datasets.declared import Declared
    from .datasets.snapshot import Snapshot
    from .datasets.state.announcement import Announcement
    from .datasets.state.status import RefreshResult

logger = logging.getLogger("django_etcdaero.runtime")


class SignalListener:
    """The listener of the process (:class:`.datasets.host.Listener`)."""

    def published(self, dataset: Declared[Any, Any], announcement: Announcement) -> None:
        logger.info("dataset %s: published version %d", dataset.name, announcement.version)
        self._send(signals.dataset_published, dataset=dataset, announcement=announcement)

    def loaded(self, dataset: Declared[Any, Any], snapshot: Snapshot[Any, Any]) -> None:
        logger.info("dataset %s: serving version %d", dataset.name, snapshot.version)
        self._send(signals.dataset_loaded, dataset=dataset, snapshot=snapshot)

    def failed(self, dataset: Declared[Any, Any], error: Exception, phase: str) -> None:
        level, trace = (logging.WARNING, None) if isinstance(error, EtcdAeroError) else (logging.ERROR, error)
        logger.log(level, "dataset %s: %s failed: %s", dataset.name, phase, message_of(error), exc_info=trace)
        self._send(signals.dataset_failed, dataset=dataset, error=error, phase=phase)

    def lock_lost(self, dataset: Declared[Any, Any]) -> None:
        logger.warning("dataset %s: the lock was lost while refreshing", dataset.name)
        self._send(signals.lock_lost, dataset=dataset)

    def refreshed(self, dataset: Declared[Any, Any], result: RefreshResult) -> None:
        self._send(signals.refresh_ended, dataset=dataset, result=result)

    def _send(self, signal: Any, **arguments: Any) -> None:
        signal.send_robust(sender=type(arguments["dataset"]), **arguments)

"""Signals. Receivers run in the thread where the thing happens, often the reader's: be quick there.

A receiver that raises is logged and harms nobody (``send_robust``).
"""

from __future__ import annotations

from django.dispatch import Signal

dataset_published = Signal()
"""This process published a version. Arguments: ``dataset``, ``announcement``."""

dataset_loaded = Signal()
"""This process serves another version from now on. Arguments: ``dataset``, ``snapshot``."""

dataset_failed = Signal()
"""A refresh or a load failed; what was served is still served. Arguments: ``dataset``, ``error``, ``phase``
(``"refresh"`` or ``"load"``). A refresh whose ``load()`` hangs sends it with ``LoadOverdue``, from a thread of its own,
while the load still hangs."""

lock_lost = Signal()
"""A refresh of this process lost its lock. Arguments: ``dataset``."""

refresh_ended = Signal()
"""A refresh of this process has ended, also one that found nothing to do. Arguments: ``dataset``, ``result``
(``result.outcome`` says how it ended). Not sent for a dry run, nor for what the end of the process interrupts."""

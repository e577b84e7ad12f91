"""The engine on a real etcd cluster, over gRPC, which is imported when the engine is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_etcdaero.stores.credentials import Tls
from django_etcdaero.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from .engine import EtcdEngine

__all__ = ["EtcdEngine", "Tls"]

__getattr__, __dir__ = lazy_names(__name__, {"engine": ["EtcdEngine"]})

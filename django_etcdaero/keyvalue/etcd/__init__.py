"""The engine on a real etcd cluster, over gRPC."""

from __future__ import annotations

from .connection.address import Tls
from .engine import EtcdEngine

__all__ = ["EtcdEngine", "Tls"]

"""The engine on a real etcd cluster, over gRPC."""

from __future__ import annotations

from django_etcdaero.kv.etcd.address import Tls
from django_etcdaero.kv.etcd.engine import EtcdEngine

__all__ = ["EtcdEngine", "Tls"]

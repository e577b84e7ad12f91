"""Administration of an etcd cluster, over gRPC."""

from __future__ import annotations

from .auth import EtcdAuth
from .cluster import EtcdCluster
from .maintenance import EtcdMaintenance
from .sync import MemberSync

__all__ = ["EtcdAuth", "EtcdCluster", "EtcdMaintenance", "MemberSync"]

"""The cache backend: ``"BACKEND": "django_etcdaero.cache.EtcdAeroCache"`` in ``CACHES``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_etcdaero.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from .backend import EtcdAeroCache as EtcdAeroCache

__all__ = ["EtcdAeroCache"]

# On first use: what only looks at caches is imported in processes that have none.
__getattr__, __dir__ = lazy_names(__name__, {"backend": __all__})

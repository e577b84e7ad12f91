"""The cache backend: ``"BACKEND": "django_etcdaero.cache.EtcdAeroCache"`` in ``CACHES``."""

from .backend import EtcdAeroCache

__all__ = ["EtcdAeroCache"]

"""The backend that ``CACHES`` names."""

from __future__ import annotations

from .asynchronous import AsyncMethods


class EtcdAeroCache(AsyncMethods):
    """A cache over a record store.

    ``location`` is a URL: ``aerospike://host:3000/namespace/set``, ``sqlite:///path``, ``mem:``, or
    ``etcdaero:ALIAS`` for the records of an alias of ``ETCDAERO``. Beside Django's methods, which do what Django says,
    it has those that users of django-redis know, tags, and :meth:`get_or_set` with one load per key.

    Methods raise the errors of :mod:`django_etcdaero.exceptions` when the store cannot be asked; with
    ``OPTIONS["IGNORE_EXCEPTIONS"]`` they go on as if the cache were empty, but for :meth:`add`, whose ``False`` would
    say that there is an entry.
    """

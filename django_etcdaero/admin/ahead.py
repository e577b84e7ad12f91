"""What asking stores takes is imported before the time of a page begins.

Imports depend on nobody who may not answer, only on how busy the machine is; inside the time of the first page of a
process they would use it up, and leave less for the stores.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache

from django_etcdaero import conf, schemes
from django_etcdaero.cache import configured
from django_etcdaero.exceptions import EtcdAeroError


@cache
def import_clients() -> None:
    """Import the clients of all stores of ``ETCDAERO``, and the backends of ``CACHES``, once in a process. Opens none.

    What cannot be imported, or is wrong in the settings, is told by who opens the stores.
    """
    from django_etcdaero import about  # noqa: F401 - what opening an alias imports, too

    for _ in configured.ours():
        pass
    for alias in conf.aliases():
        with suppress(EtcdAeroError, ImportError):
            used = conf.get(alias)
            schemes.import_clients(used.kv, used.records)

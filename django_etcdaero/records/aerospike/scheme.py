"""``aerospike:`` and ``aerospikes:`` for the data plane."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from django_etcdaero.stores.aerospike import AerospikeAddress, parse
from django_etcdaero.stores.scheme import Scheme

if TYPE_CHECKING:
    from .store import AerospikeStore


def _open(address: AerospikeAddress, timeout: float) -> AerospikeStore:
    from .store import AerospikeStore

    return AerospikeStore(address, timeout=timeout)  # it connects at the first call


_IMPORTS: Final = ("django_etcdaero.records.aerospike.store", "django_etcdaero.records.aerospike.native_client")

PLAIN: Final = Scheme(
    names=("aerospike",),
    forms="aerospike://host:port,host:port/namespace/set",
    address=AerospikeAddress,
    parse=partial(parse, encrypted=False),
    open=_open,
    imports=_IMPORTS,
)
ENCRYPTED: Final = Scheme(
    names=("aerospikes",),
    forms="aerospikes://host:port,host:port/namespace/set?ca=ca.pem",
    address=AerospikeAddress,
    parse=partial(parse, encrypted=True),
    open=_open,
    imports=_IMPORTS,
)

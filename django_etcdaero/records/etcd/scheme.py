"""``etcd:`` and ``etcds:`` for the data plane, and ``http:`` and ``https:``, as etcd's own tools write them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from django_etcdaero.stores.etcd_records import ENCRYPTED_FORMS, FORMS, EtcdRecordsAddress, parse
from django_etcdaero.stores.scheme import Scheme

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.engine import Engine
    from django_etcdaero.stores.address import Address

    from .store import EtcdStore


def _open(address: EtcdRecordsAddress, timeout: float) -> EtcdStore:
    from django_etcdaero.keyvalue.etcd.engine import EtcdEngine

    from .store import EtcdStore

    room = address.room
    engine = EtcdEngine(address.cluster, timeout=timeout)  # it connects at the first call
    return EtcdStore(engine, room, max_entries=address.max_entries, max_value_bytes=address.max_value_bytes)


def _open_beside(address: EtcdRecordsAddress, kv: Address, engine: Engine) -> EtcdStore | None:
    from .store import EtcdStore

    if address.cluster != kv:
        return None
    return EtcdStore(
        engine, address.room, max_entries=address.max_entries, max_value_bytes=address.max_value_bytes, owned=False
    )


_IMPORTS: Final = ("django_etcdaero.keyvalue.etcd.engine", "django_etcdaero.records.etcd.store")

PLAIN: Final = Scheme(
    names=("etcd", "http"),
    forms=FORMS,
    address=EtcdRecordsAddress,
    parse=partial(parse, encrypted=False),
    open=_open,
    imports=_IMPORTS,
    open_beside=_open_beside,
)
ENCRYPTED: Final = Scheme(
    names=("etcds", "https"),
    forms=ENCRYPTED_FORMS,
    address=EtcdRecordsAddress,
    parse=partial(parse, encrypted=True),
    open=_open,
    imports=_IMPORTS,
    open_beside=_open_beside,
)

"""``etcd:`` and ``etcds:`` for the coordination plane, and ``http:`` and ``https:``, as etcd's own tools write them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from django_etcdaero.stores.etcd import EtcdAddress, parse
from django_etcdaero.stores.scheme import Scheme

if TYPE_CHECKING:
    from .engine import EtcdEngine


def _open(address: EtcdAddress, timeout: float) -> EtcdEngine:
    from .engine import EtcdEngine

    return EtcdEngine(address, timeout=timeout)  # it connects at the first call


_IMPORTS: Final = ("django_etcdaero.keyvalue.etcd.engine",)

PLAIN: Final = Scheme(
    names=("etcd", "http"),
    forms="etcd://host:port,host:port",
    address=EtcdAddress,
    parse=partial(parse, encrypted=False),
    open=_open,
    imports=_IMPORTS,
)
ENCRYPTED: Final = Scheme(
    names=("etcds", "https"),
    forms="etcds://host:port,host:port?ca=ca.pem",
    address=EtcdAddress,
    parse=partial(parse, encrypted=True),
    open=_open,
    imports=_IMPORTS,
)

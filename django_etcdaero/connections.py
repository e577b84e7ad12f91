"""``kv`` and ``kvs``: the coordination clients of this process, by alias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.utils.connection import BaseConnectionHandler, ConnectionProxy

from .exceptions import ConfigurationError

if TYPE_CHECKING:
    from .keyvalue.facade import KV

    _Handler = BaseConnectionHandler[KV]
    _Proxy = ConnectionProxy[KV]
else:  # generic in the type stubs only
    _Handler = BaseConnectionHandler
    _Proxy = ConnectionProxy


class KVHandler(_Handler):
    """``kvs["alias"]``. The clients behind are one for each process, shared by its threads."""

    settings_name = "ETCDAERO"
    exception_class = ConfigurationError

    def __getitem__(self, alias: str) -> KV:
        # Not through the per-thread store of the base class: a thread would keep a client of before a fork.
        return self.create_connection(alias)

    def create_connection(self, alias: str) -> KV:
        from .runtime import runtime

        return runtime.stores(alias).kv

    def close_all(self) -> None:
        super().close_all()

    # As system.acting marks it, which importing the package does not load: no template calls it.
    close_all.alters_data = True  # type: ignore[attr-defined]

    @property
    def settings(self) -> dict[str, Any]:  # not kept, unlike the base class's: override_settings may change them
        from . import conf

        return dict.fromkeys(conf.aliases())


kvs = KVHandler()


class DefaultKV(_Proxy):
    """The client of the alias ``default``, opened when it is first used."""

    def __dir__(self) -> list[str]:
        from .keyvalue.facade import KV

        return dir(KV)  # of the class: looking must open nothing

    def __repr__(self) -> str:
        return "<the KV client of the alias 'default'>"


kv = cast("KV", DefaultKV(kvs, "default"))

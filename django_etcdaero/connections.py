"""``kv`` and ``kvs``: the coordination clients of this process, by alias."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from inspect import iscoroutinefunction, isfunction
from types import MethodType
from typing import TYPE_CHECKING, Any, cast

from django.core.exceptions import ImproperlyConfigured
from django.utils.connection import BaseConnectionHandler, ConnectionProxy

from .exceptions import ConfigurationError

if TYPE_CHECKING:
    from .keyvalue.administration import Auth, Cluster, Maintenance
    from .keyvalue.facade import KV
    from .runtime import Runtime

    _Handler = BaseConnectionHandler[KV]
    _Proxy = ConnectionProxy[KV]
else:  # generic in the type stubs only
    _Handler = BaseConnectionHandler
    _Proxy = ConnectionProxy


@cache
def _runtime() -> Runtime:
    from .runtime import runtime  # once: an import statement costs more than the rest of taking a method

    return runtime


class KVHandler(_Handler):
    """``kvs["alias"]``. The clients behind are one for each process, shared by its threads."""

    settings_name = "ETCDAERO"
    exception_class = ConfigurationError

    def __getitem__(self, alias: str) -> KV:
        # Not through the per-thread store of the base class: a thread would keep a client of before a fork.
        return self.create_connection(alias)

    def create_connection(self, alias: str) -> KV:
        return _runtime().stores(alias).kv

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
    """The client of the alias ``default``, opened when it is first used.

    Looking at it opens nothing: its repr, ``dir()``, and taking a method, as shells do that complete names.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # shells and debuggers ask for many
            raise AttributeError(f"the KV client has no attribute {name!r}")
        runtime = _runtime()
        if not runtime.open_stores.is_open(self._alias):
            from .keyvalue.facade import KV

            method = getattr(KV, name, None)
            if isfunction(method):
                return MethodType(_later(name, method), self)
        return getattr(runtime.stores(self._alias).kv, name)

    def _client(self) -> KV:
        return _runtime().stores(self._alias).kv

    # Here because completers leave properties of a class alone, while for other names they take the value.

    @property
    def auth(self) -> Auth:
        """Users and roles of the store."""
        return self._client().auth

    @property
    def closed(self) -> bool:
        """True once the client is closed."""
        return self._client().closed

    @property
    def cluster(self) -> Cluster:
        """The members of the store."""
        return self._client().cluster

    @property
    def maintenance(self) -> Maintenance:
        """Status, alarms, snapshots and the like."""
        return self._client().maintenance

    @property
    def prefix(self) -> bytes:
        """What all keys of this client start with in the store."""
        return self._client().prefix

    def __dir__(self) -> list[str]:
        from .keyvalue.facade import FOR_THE_PACKAGE, KV

        return sorted(set(dir(KV)) - FOR_THE_PACKAGE)  # of the class: looking must open nothing

    def __repr__(self) -> str:
        from . import conf

        alias = self._alias
        if _runtime().open_stores.is_open(alias):
            client = self._client()
            return f"<kv {alias!r}: {client.engine.info.location}, prefix {client.prefix!r}>"
        try:
            settings = conf.get(alias)
        except (ConfigurationError, ImproperlyConfigured):
            return f"<kv {alias!r}: its settings are wrong or missing>"
        return f"<kv {alias!r}: {settings.kv.safe}, prefix {settings.prefix.encode() + b'/'!r}, not opened yet>"


def _later(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``method`` of :class:`~django_etcdaero.keyvalue.facade.KV`, of a client that is opened by the call."""
    if iscoroutinefunction(method):

        @wraps(method)
        async def call(proxy: DefaultKV, *args: Any, **kwargs: Any) -> Any:
            return await getattr(proxy._client(), name)(*args, **kwargs)

    else:

        @wraps(method)
        def call(proxy: DefaultKV, *args: Any, **kwargs: Any) -> Any:
            return getattr(proxy._client(), name)(*args, **kwargs)

    return call


kv = cast("KV", DefaultKV(kvs, "default"))

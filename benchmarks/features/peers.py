"""The cache backends that ``cache_features.py`` looks at, with what each needs for a feature that is off by default."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import django
from django.utils.module_loading import import_string


@dataclass(frozen=True)
class Peer:
    """A backend that is looked at. ``variants``: what must be in its entry of ``CACHES`` for one feature."""

    name: str
    entry: dict[str, Any]
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    module: str = ""
    """What must be installed for it."""
    notes: dict[str, str] = field(default_factory=dict)
    """What to say of a feature that only a variant has."""
    keywords: dict[str, Any] = field(default_factory=dict)
    """With which ``get_or_set`` keeps a value for longer than its timeout."""
    raw: Callable[[Peer, Any, str], tuple[bytes, Callable[[bytes], object]]] | None = None
    """Returns what stands under a key in the store, and a function that replaces it."""

    @property
    def version(self) -> str | None:
        """Which release is installed; ``None``: it is missing."""
        if self.name == OURS:
            return ""
        if self.entry["BACKEND"].startswith("django.") and (not self.module or find_spec(self.module)):
            return f"Django {django.__version__}"
        try:
            return version(self.name)
        except PackageNotFoundError:
            return None

    def make(self, feature: str = "", **changes: Any) -> Any:
        """Return an instance, as each thread of Django has one, with entries of its own."""
        entry = {"KEY_PREFIX": uuid.uuid4().hex[:8], **self.entry, **self.variants.get(feature, {}), **changes}
        return import_string(entry["BACKEND"])(entry.get("LOCATION", ""), entry)


def _redis_raw(peer: Peer, cache: Any, key: str) -> tuple[bytes, Callable[[bytes], object]]:
    import redis

    client = redis.Redis.from_url(peer.entry["LOCATION"].replace("valkey:", "redis:"))
    name = str(cache.make_key(key))
    return client.get(name), lambda payload: client.set(name, payload)


def _disk_raw(peer: Peer, cache: Any, key: str) -> tuple[bytes, Callable[[bytes], object]]:
    made = cache.make_key(key)
    shard = cache._cache._shards[cache._cache._hash(made) % cache._cache._count]
    ((stored,),) = shard._sql("SELECT value FROM Cache WHERE key = ?", (made,)).fetchall()
    return bytes(stored), lambda payload: shard._sql("UPDATE Cache SET value = ? WHERE key = ?", (payload, made))


def _our_raw(peer: Peer, cache: Any, key: str) -> tuple[bytes, Callable[[bytes], object]]:
    store = cache.get_client()
    name = cache._core.entries.record_key(cache.key_prefix, cache.make_key(key))
    return store.get(name).value, lambda payload: store.put(name, payload)


OURS = "django-etcdaero"


def _options(**options: Any) -> dict[str, Any]:
    return {"OPTIONS": options}


def _redis_package(package: str, module: str, scheme: str, url: str, client: str = "RedisCache", **more: Any) -> Peer:
    """django-redis, and django-valkey, which comes from it and has the same options."""
    cls, herd = (f"{module}.cache.{client}", f"{module}.client.HerdClient")
    return Peer(
        package,
        {"BACKEND": cls, "LOCATION": url.replace("redis:", f"{scheme}:")},
        {
            "pickle": {},
            "json": _options(SERIALIZER=f"{module}.serializers.json.JSONSerializer"),
            "zlib": _options(COMPRESSOR=f"{module}.compressors.zlib.ZlibCompressor", COMPRESS_MIN_LENGTH=15),
            "lz4": _options(COMPRESSOR=f"{module}.compressors.lz4.Lz4Compressor"),
            "stale": _options(CLIENT_CLASS=herd),
            "away": {"LOCATION": f"{scheme}://127.0.0.1:{{port}}/0", **_options(IGNORE_EXCEPTIONS=True)},
            **more,
        },
        notes={"stale": "HerdClient", "async": "a class of its own", "loop": "a class of its own"},
        module=module,
        raw=_redis_raw,
    )


def peers(directory: str, redis: str | None, valkey: str | None) -> list[Peer]:
    """Return all; ``redis`` and ``valkey`` are URLs of servers without the number of a database, if there are any."""
    stale = {"stale": 60}
    found = [
        Peer(
            OURS,
            {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": f"sqlite:///{directory}/ours.sqlite3"},
            {
                "pickle": {},
                "json": _options(SERIALIZER="json"),
                "zlib": _options(COMPRESSOR="zlib"),
                "lz4": _options(COMPRESSOR="lz4"),
                "jitter": _options(JITTER=0.5),
                "near": _options(NEAR={}),
                "loop": _options(NEAR={}),
                "away": {"LOCATION": "aerospike://127.0.0.1:{port}/test/set", **_options(IGNORE_EXCEPTIONS=True)},
            },
            notes={"near": "NEAR", "loop": "NEAR"},
            keywords=stale,
            raw=_our_raw,
        ),
        Peer("LocMemCache", {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "features"}),
        Peer(
            "diskcache",
            {"BACKEND": "diskcache.DjangoCache", "LOCATION": f"{directory}/disk"},
            module="diskcache",
            raw=_disk_raw,
        ),
    ]
    if redis is not None:
        found[1:1] = _on_redis(redis)
    if valkey is not None:
        found[-2:-2] = [_on_valkey(valkey)]
    return found


def _on_redis(redis: str) -> list[Peer]:
    cachex = "django_cachex"
    return [
        Peer(
            "RedisCache",
            {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": f"{redis}/1"},
            {
                "pickle": {},
                "json": _options(serializer="features.peers.JSON"),
                "away": {"LOCATION": "redis://127.0.0.1:{port}/0"},
            },
            module="redis",
            raw=_redis_raw,
        ),
        _redis_package("django-redis", "django_redis", "redis", f"{redis}/2"),
        Peer(
            "django-cachex",
            {"BACKEND": f"{cachex}.cache.RedisCache", "LOCATION": f"{redis}/4"},
            {
                "pickle": {},
                "json": _options(
                    serializer=[f"{cachex}.serializers.{each}Serializer" for each in ("json.JSON", "pickle.Pickle")]
                ),
                "zlib": _options(compressor=f"{cachex}.compressors.zlib.ZlibCompressor"),
                "lz4": _options(
                    compressor=[f"{cachex}.compressors.{each}Compressor" for each in ("lz4.Lz4", "zlib.Zlib")]
                ),
                "away": {"LOCATION": "redis://127.0.0.1:{port}/0", **_options(ignore_exceptions=True)},
            },
            notes={"json": "a list", "lz4": "a list"},
            module=cachex,
            raw=_redis_raw,
        ),
    ]


def _on_valkey(valkey: str) -> Peer:
    return _redis_package(
        "django-valkey",
        "django_valkey",
        "valkey",
        f"{valkey}/3",
        "ValkeyCache",
        **{
            feature: {
                "BACKEND": "django_valkey.async_cache.cache.AsyncValkeyCache",
                "LOCATION": f"{valkey.replace('redis:', 'valkey:')}/{number}",
                **_options(CLIENT_CLASS="django_valkey.async_cache.client.AsyncDefaultClient"),
            }
            # Its connections are those of one event loop.
            for feature, number in (("async", 5), ("loop", 6))
        },
    )


class JSON:
    """A serializer, for Django's cache on Redis."""

    def dumps(self, value: Any) -> bytes | int:
        import json

        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        import json

        return json.loads(data)

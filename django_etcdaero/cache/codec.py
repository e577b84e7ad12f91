"""Values of a cache to what stands in records, and back: serializer, compressor and signature together."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from django_etcdaero.exceptions import CorruptBlock, RecordTooBig
from django_etcdaero.records.arguments import MAX_INT, MIN_INT

from . import compressors, serializers
from .compressors import Compressor
from .envelope import EXPIRES_AT, FORMAT, HEAD, MAGIC, SIGNATURE_BYTES, SIGNED, TIME, Envelope
from .serializers import Serializer

_SIGNED_HEAD: Final = HEAD.size + SIGNATURE_BYTES

_LONG: Final = 2048
"""Bytes from which on a body is signed by its SHA-256."""

MISSING: Final = object()
"""What stands for a value that is not there, or cannot be read."""


class Codec:
    """How one cache writes values. ``secrets()`` gives the secret keys: the first signs, each is accepted."""

    def __init__(
        self,
        serializer: Serializer,
        compressor: Compressor | None,
        *,
        secrets: Callable[[], Sequence[str | bytes]],
        min_length: int,
        level: int | None,
        max_bytes: int,
        private: bool = False,
    ) -> None:
        """``min_length``: bytes below which nothing is compressed. ``max_bytes``: largest body, as it is stored."""
        self._serializer = serializer
        self._readable = serializers.readable(serializer, private=private)
        self._compressor = compressor
        self._usual = HEAD.pack(MAGIC, FORMAT, SIGNED if serializer.signed else 0, serializer.code, 0, 0, 0.0, 0.0)[:8]
        """How an entry of the commonest kind begins: without fields, not compressed."""
        self._secrets = secrets
        self._min_length = min_length
        self._level = level
        self._max_bytes = max_bytes
        self.longest = compressors.MAX_RATIO * max_bytes
        """Bytes that no value has, as it is stored or unpacked."""

    def body(self, value: Any) -> tuple[int, int, bytes]:
        """Return the codes of serializer and compressor, and the bytes.

        Raises ``RecordTooBig``, and what the serializer raises.
        """
        data = self._serializer.dumps(value)
        serializer, compressor = self._serializer.code, compressors.NONE
        if self._compressor is not None and len(data) >= self._min_length:
            if len(data) > compressors.MAX_RATIO * self._max_bytes:
                most = compressors.MAX_RATIO * self._max_bytes
                raise RecordTooBig(f"a value of {len(data)} bytes, allowed are {most} before it is compressed")
            smaller = self._compressor.compress(data, self._level)
            if len(smaller) < len(data):
                data, compressor = smaller, self._compressor.code
        if len(data) > self._max_bytes:
            raise RecordTooBig(f"a value of {len(data)} bytes, allowed are {self._max_bytes}")
        return serializer, compressor, data

    def seal(self, key: bytes, envelope: Envelope) -> Envelope:
        """Return the entry with its signature, if its serializer wants one. ``key`` is the record's."""
        serializer = self._readable.get(envelope.serializer)
        if serializer is None or not serializer.signed:
            return envelope
        return envelope._replace(signature=_signature(self._secrets()[0], key, *envelope.signed_parts()))

    def authentic(self, key: bytes, envelope: Envelope) -> bool:
        """Tell whether the entry may be read: its serializer is one of those, and it has the signature it needs."""
        serializer = self._readable.get(envelope.serializer)
        if serializer is None:
            return False
        if not serializer.signed:
            return True
        if envelope.signature is None:
            return False
        head, body = envelope.signed_parts()
        return any(
            hmac.compare_digest(_signature(secret, key, head, body), envelope.signature) for secret in self._secrets()
        )

    def packed(self, key: bytes, serializer: int, compressor: int, expires: float, body: bytes) -> bytes:
        """Return the record of an entry of the commonest kind, made now: as by :meth:`seal` and ``pack()``."""
        if not self._serializer.signed:
            return HEAD.pack(MAGIC, FORMAT, 0, serializer, compressor, 0, time.time(), expires) + body
        head = HEAD.pack(MAGIC, FORMAT, SIGNED, serializer, compressor, 0, time.time(), expires)
        return head + _signature(self._secrets()[0], key, head, body) + body

    def quick(self, key: bytes, stored: bytes, now: float) -> Any:
        """Return the value of an entry of the commonest kind, without looking at its header in all detail.

        ``now``: seconds since the epoch. ``MISSING``: it is of another kind, or something is wrong with it; whoever
        asks then reads it the long way.
        """
        if stored[: len(self._usual)] != self._usual or len(stored) < HEAD.size:
            return MISSING
        if TIME.unpack_from(stored, EXPIRES_AT)[0] <= now:
            return MISSING
        if self._serializer.signed:
            body = stored[_SIGNED_HEAD:]
            signature = _signature(self._secrets()[0], key, stored[: HEAD.size], body)
            if not hmac.compare_digest(signature, stored[HEAD.size : _SIGNED_HEAD]):
                return MISSING
        else:
            body = stored[HEAD.size :]
        try:
            return self._serializer.loads(body)
        except Exception:
            return MISSING  # the long way says why

    def read(self, key: bytes, envelope: Envelope) -> Any:
        """Return the value of an entry. Raises ``CorruptBlock``, which says why, if it may not or cannot be read."""
        self._check(key, envelope)
        return self.value(envelope)

    def unpacked(self, key: bytes, envelope: Envelope) -> bytes:
        """Return what the serializer made of the value of an entry, which has its body, and call no serializer.

        Raises ``CorruptBlock`` as :meth:`read`.
        """
        self._check(key, envelope)
        try:
            return self._decompressed(envelope)
        except CorruptBlock:
            raise
        except Exception as error:  # a package that is not there
            raise CorruptBlock(f"{type(error).__name__}: {error}") from error

    def _check(self, key: bytes, envelope: Envelope) -> None:
        if envelope.serializer not in self._readable:
            raise CorruptBlock(f"its serializer is not read here ({envelope.serializer})")
        if not self.authentic(key, envelope):
            raise CorruptBlock("its signature is wrong; was SECRET_KEY changed?")

    def _decompressed(self, envelope: Envelope) -> bytes:
        if envelope.compressor == compressors.NONE:
            return envelope.body
        compressor = compressors.BY_CODE.get(envelope.compressor)
        if compressor is None:
            raise CorruptBlock(f"there is no compressor {envelope.compressor}")
        return compressor.decompress(envelope.body, compressors.MAX_RATIO * self._max_bytes)

    def value(self, envelope: Envelope) -> Any:
        """Return the value of an authentic entry. Raises ``CorruptBlock`` if it cannot be read."""
        try:
            return self._readable[envelope.serializer].loads(self._decompressed(envelope))
        except Exception as error:  # a class that is gone, a package that is not there: an entry of other code
            raise CorruptBlock(f"{type(error).__name__}: {error}") from error


def is_number(value: object) -> bool:
    """Tell whether a value is kept as an integer of the store, which it can increment."""
    return type(value) is int and MIN_INT <= value <= MAX_INT


@lru_cache(maxsize=16)
def _keyed(secret: str | bytes) -> hashlib.blake2b:
    """Return the start of a signature: keyed BLAKE2b is a MAC by design (RFC 7693)."""
    data = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    derived = hashlib.blake2b(data, person=b"etcdaero cache").digest()
    return hashlib.blake2b(key=derived, digest_size=SIGNATURE_BYTES)


def _signature(secret: str | bytes, key: bytes, head: bytes, body: bytes) -> bytes:
    """Return what only those can make who know ``secret``, of all that an entry is.

    Processors compute SHA-256 themselves: a long body is hashed by it first, in a quarter of the time (measured at 31
    KB); for a short one the second hash costs more than it saves.
    """
    mac = _keyed(secret).copy()
    length = len(key).to_bytes(4, "big")
    if len(body) < _LONG:
        mac.update(b"\0" + length + key + head + body)
    else:
        mac.update(b"\1" + length + key + head + hashlib.sha256(body).digest())
    return mac.digest()

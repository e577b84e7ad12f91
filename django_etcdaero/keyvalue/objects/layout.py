"""Where a collection is: its keys, and how what is found there is read.

The objects of a collection are the keys below a prefix that ends with ``/``, one key each. A name may itself have
slashes in it: the objects *under* ``eu`` are those whose names begin with ``eu/``, which ``europe`` does not.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from django_etcdaero.exceptions import InvalidObject, InvalidRequest
from django_etcdaero.keyvalue.arguments import check_text
from django_etcdaero.keyvalue.keys import Text, prefix_end, to_bytes
from django_etcdaero.keyvalue.values import KeyValue

from .codec import Codec
from .stored import Invalid, Stored

T = TypeVar("T")


class Layout(Generic[T]):
    """A prefix and the codec of what is there. Immutable."""

    __slots__ = ("codec", "prefix")

    def __init__(self, prefix: Text, codec: Codec[T]) -> None:
        text = to_bytes(prefix, name="prefix").rstrip(b"/")
        if not text:
            raise InvalidRequest("the prefix of a collection is empty")
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"the prefix of a collection must be UTF-8, not {text!r}") from error
        self.prefix = text + b"/"
        self.codec = codec

    # names -----------------------------------------------------------------------------------------------------------

    def key(self, name: str) -> bytes:
        """Return the key of an object. Raises ``InvalidRequest`` unless ``name`` is a name."""
        if not isinstance(name, str):
            raise InvalidRequest(f"the name of an object must be text, not {name!r}")
        if not name or name.startswith("/") or name.endswith("/"):
            raise InvalidRequest(f"the name of an object must not be empty, nor begin or end with '/': {name!r}")
        try:
            return self.prefix + name.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"the name of an object must be UTF-8: {name!r}") from error

    def span(self, under: str | None, *, name: str = "under") -> tuple[bytes, bytes]:
        """Return key and range end of the objects under ``under`` (``None``: all), whether it ends with "/" or not.

        ``name`` is what an ``InvalidRequest`` calls it.
        """
        if under is None:
            start = self.prefix
        else:
            text = check_text(name, under).removesuffix("/")
            try:
                start = self.key(text) + b"/"
            except InvalidRequest as error:
                raise InvalidRequest(f"{name}: {error}") from None
        return start, prefix_end(start)

    def name(self, key: bytes) -> str:
        """Return the name to a key; what is not UTF-8 in it is escaped."""
        return key[len(self.prefix) :].decode(errors="backslashreplace")

    def label(self, name: str) -> str:
        """Return what messages call an object."""
        return self.prefix.decode() + name

    # objects ---------------------------------------------------------------------------------------------------------

    def encode(self, name: str, value: T) -> bytes:
        """Return what is stored for an object. Raises ``EncodeError``."""
        return self.codec.encode(value, label=self.label(name))

    def read(self, found: KeyValue) -> Stored[T]:
        """Return the object in a key. Raises ``InvalidObject``."""
        name = self.name(found.key)
        try:
            regular = self.key(name) == found.key
        except InvalidRequest:
            regular = False
        if not regular:
            raise InvalidObject(f"{self.label(name)}: the key is not the name of an object")
        value = self.codec.decode(found.value, label=self.label(name))
        return Stored(name, value, found.mod_revision, found.create_revision, found.lease)

    def read_or_tell(self, found: KeyValue) -> Stored[T] | Invalid:
        """Return the object in a key, or what is wrong with it."""
        try:
            return self.read(found)
        except InvalidObject as error:
            return Invalid(self.name(found.key), found.mod_revision, found.value, error)

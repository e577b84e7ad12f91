"""One version of a dataset in a file.

The first line is a JSON object, UTF-8 with a line feed at its end (:class:`Header`): the magic word ``format`` and its
number, name and schema of the dataset, what is known of the version, and how many records follow. Each record is the
20 bytes of its digest, the length of what follows (4 bytes, big endian), and the bytes as they are stored. The root
comes first, then the pages that it names, then the blocks (and chunks of the order)
that these name, each once; nothing follows the last one. The
header names the root by its digest, so every byte that is believed is checked against a name, as a reader checks it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from django_etcdaero.datasets.blocks.codec import CODEC_VERSION
from django_etcdaero.datasets.blocks.compression import MAX_PLAIN_BYTES, STORED_OVERHEAD, verified
from django_etcdaero.datasets.blocks.digests import DIGEST_BYTES, DamagedRecord, Kind
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.exceptions import CorruptBlock, ResponseError
from django_etcdaero.records.store import batches

FORMAT: Final = "django-etcdaero version"
FORMAT_NUMBER: Final = 1
"""Raised when the file is laid out in another way, so that older code refuses what it cannot read."""
LENGTH_BYTES: Final = 4
LONGEST_HEADER: Final = 65_536
MOST: Final = {"int": 2**53, "float": 2.5e11}
"""Numbers are from 0 to below this: those of JSON, and seconds since the epoch that are dates."""
CHECKED: Final = 64
"""Records that are checked together."""
_DIGEST: Final = re.compile(f"[0-9a-f]{{{2 * DIGEST_BYTES}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first line. Times are seconds since the epoch."""

    name: str
    schema: int
    version: int
    root: str
    """Digest of the root, in hex."""
    rows: int
    records: int
    """How many follow."""
    stored_bytes: int
    published_at: float
    load_started: float
    project: str = ""
    codec: int = CODEC_VERSION
    format: str = FORMAT
    format_number: int = FORMAT_NUMBER

    def encode(self) -> bytes:
        """Return the line."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, file: BinaryIO) -> Header:
        """Read the first line. Raises ``ResponseError`` for what is no such file, or one of newer code."""
        try:
            fields: Any = json.loads(file.readline(LONGEST_HEADER))
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise ResponseError("the file is no export of a version: its first line is something else")
        if fields.get("format_number") != FORMAT_NUMBER:
            raise ResponseError(
                f"the file has the format {fields.get('format_number')!r}; this django-etcdaero reads {FORMAT_NUMBER}"
            )
        known = {each.name: str(each.type) for each in dataclasses.fields(cls)}
        kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
        if not _DIGEST.fullmatch(str(fields.get("root"))):
            raise ResponseError(f"the header of the file has a bad 'root': {ascii(fields.get('root'))[:100]}")
        for name, kind in known.items():
            value: Any = fields.get(name)
            if type(value) not in kinds[kind] or (kind != "str" and not 0 <= value < MOST[kind]):
                raise ResponseError(f"the header of the file has a bad {name!r}: {ascii(value)[:100]}")
        return cls(**{name: fields[name] for name in known})


def kinds_of(manifest: Manifest) -> dict[bytes, Kind]:
    """Return the names of all records of a version, in the order of the file, and what each is."""
    return (
        {manifest.root_digest: Kind.ROOT}
        | dict.fromkeys((*manifest.pages, *manifest.order_pages), Kind.PAGE)
        | manifest.kinds()
    )


def write_record(file: BinaryIO, digest: bytes, stored: bytes) -> None:
    """Write one record."""
    file.write(digest + len(stored).to_bytes(LENGTH_BYTES, "big"))
    file.write(stored)


class VersionFile:
    """A file that was checked from its beginning to its end, to fetch records from.

    ``file`` must be seekable and stay open. In memory is where each record stands, and not the records. Raises
    ``CorruptBlock`` naming the record that is wrong, ``ResponseError`` for a file that is no export, ``OSError``.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._places: dict[bytes, tuple[int, int]] = {}
        """Where the bytes of each record begin, and how many they are."""
        self.header = Header.read(file)
        self._scan()
        self.manifest = self._check()

    def fetch(self, digests: Iterable[bytes]) -> Mapping[bytes, bytes]:
        """Return the stored bytes of the digests that are in the file."""
        found = {}
        for digest in digests:
            if digest in self._places:
                begin, length = self._places[digest]
                self._file.seek(begin)
                found[digest] = self._file.read(length)
        return found

    def _scan(self) -> None:
        """Note where each record stands."""
        for number in range(1, self.header.records + 1):
            head = self._file.read(DIGEST_BYTES + LENGTH_BYTES)
            digest, length = head[:DIGEST_BYTES], int.from_bytes(head[DIGEST_BYTES:], "big")
            if len(head) < DIGEST_BYTES + LENGTH_BYTES:
                raise CorruptBlock(f"the file ends before record {number:,} of {self.header.records:,}")
            if length > MAX_PLAIN_BYTES + STORED_OVERHEAD:
                raise CorruptBlock(f"record {number:,} is damaged: it claims to have {length:,} bytes")
            begin = self._file.tell()
            if len(self._file.read(length)) < length:
                raise CorruptBlock(f"the file ends inside record {number:,} of {self.header.records:,}")
            if digest in self._places:
                raise CorruptBlock(f"record {number:,} is there twice: {digest.hex()}")
            self._places[digest] = begin, length
        if self._file.read(1):
            raise CorruptBlock(f"the file goes on after its {self.header.records:,} records")

    def _check(self) -> Manifest:
        """Check each record against its name, and that they are those of the version."""
        try:
            manifest = Manifest.load(self.fetch, bytes.fromhex(self.header.root))
            kinds = kinds_of(manifest)
            for batch in batches(kinds, CHECKED):
                found = self.fetch(batch)
                for digest in batch:
                    if digest not in found:
                        raise CorruptBlock(f"the file lacks a part of the version: {digest.hex()}")
                    verified(kinds[digest], digest, found[digest])
        except DamagedRecord as error:
            raise DamagedRecord(f"record {self._number(error.digest):,} is damaged: {error}", error.digest) from error
        for digest in self._places:
            if digest not in kinds:
                raise CorruptBlock(f"record {self._number(digest):,} is no part of the version: {digest.hex()}")
        if self.header.rows != manifest.rows:
            raise CorruptBlock("the header of the file does not fit what follows it")
        return manifest

    def _number(self, digest: bytes) -> int:
        return list(self._places).index(digest) + 1

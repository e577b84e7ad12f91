"""Making the bodies of entries smaller. A number in each entry's header says which compressor wrote it."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from django_etcdaero.exceptions import ConfigurationError, CorruptBlock
from django_etcdaero.system.shown import shown_name


class Compressor(NamedTuple):
    """A way to compress. ``code`` is what the header of an entry says; codes never change their meaning."""

    code: int
    name: str
    compress: Callable[[bytes, int | None], bytes]
    """Takes the level, ``None`` for the usual one."""
    decompress: Callable[[bytes, int], bytes]
    """Takes the most bytes that may come out; raises ``CorruptBlock`` for more, and for what is not its own."""
    levels: range
    package: str = ""


NONE: Final = 0

MAX_RATIO: Final = 8
"""How many times larger than the largest body a value may be before it is compressed, and when it is read. What is in
the store cannot make a process use more memory than that for one entry."""


def _decompress_zlib(data: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise CorruptBlock(f"not what zlib wrote: {error}") from error
    if len(out) > limit or not stream.eof:
        raise CorruptBlock("cut off, or larger than an entry may be")
    return out


def _compress_zstd(data: bytes, level: int | None) -> bytes:
    zstandard: Any = importlib.import_module("zstandard")
    out: bytes = zstandard.ZstdCompressor(level=3 if level is None else level).compress(data)
    return out


def _decompress_zstd(data: bytes, limit: int) -> bytes:
    zstandard: Any = importlib.import_module("zstandard")
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= limit:
            raise CorruptBlock("larger than an entry may be")
        out: bytes = zstandard.ZstdDecompressor().decompress(data, max_output_size=limit)
    except zstandard.ZstdError as error:
        raise CorruptBlock(f"not what zstd wrote: {error}") from error
    return out


def _compress_lz4(data: bytes, level: int | None) -> bytes:
    frame: Any = importlib.import_module("lz4.frame")
    out: bytes = frame.compress(data, compression_level=0 if level is None else level)
    return out


def _decompress_lz4(data: bytes, limit: int) -> bytes:
    frame: Any = importlib.import_module("lz4.frame")
    stream = frame.LZ4FrameDecompressor()
    try:
        out: bytes = stream.decompress(data, max_length=limit + 1)
    except (RuntimeError, EOFError) as error:
        raise CorruptBlock(f"not what lz4 wrote: {error}") from error
    if len(out) > limit or not stream.eof:
        raise CorruptBlock("cut off, or larger than an entry may be")
    return out


ALL: Final = {
    each.name: each
    for each in (
        Compressor(
            1,
            "zlib",
            lambda data, level: zlib.compress(data, -1 if level is None else level),
            _decompress_zlib,
            range(10),
        ),
        Compressor(2, "zstd", _compress_zstd, _decompress_zstd, range(-7, 23), "zstandard"),
        Compressor(3, "lz4", _compress_lz4, _decompress_lz4, range(17), "lz4"),
    )
}
BY_CODE: Final = {each.code: each for each in ALL.values()}


def chosen(name: object) -> Compressor | None:
    """Return the compressor that ``OPTIONS["COMPRESSOR"]`` names; ``None`` for ``None``.

    Raises ``ConfigurationError`` for anything else and for a package that is not installed.
    """
    if name is None:
        return None
    if not isinstance(name, str) or name not in ALL:
        raise ConfigurationError(f"COMPRESSOR is {shown_name(name)}; there are {', '.join(ALL)}, and None")
    found = ALL[name]
    if found.package:
        try:
            importlib.import_module(found.package)
        except ImportError:
            raise ConfigurationError(f"COMPRESSOR {name!r} needs the package {found.package}") from None
    return found

"""Blocks by columns: rows that have the same fields, stored field by field. They are only read: code of before has
written them, and :mod:`.short_rows` takes their place.

The plain form of such a block is the byte 0xC1, with which nothing begins in MessagePack, and a MessagePack array

    ``[kind, names, forms, keys, column, …]``

``kind`` is 0 for dicts, 1 for tuples and 2 for lists; ``names`` the fields of the dicts, else empty; ``forms`` a text
with a letter for the keys and one for each column: see :mod:`.column_forms`. Rows are in the order of their encoded
keys, as in a block by rows (:mod:`.partition`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from . import column_forms as forms
from .codec import UNPACKING_ERRORS, decode
from .digests import DamagedRecord
from .row_shapes import Columns, stored_shape
from .short_values import PLAIN, SAME

MARK: Final = b"\xc1"


def read(plain: bytes, *, frozen: bool) -> Columns:
    """Return what a block by columns holds; containers in its rows are ``frozen``, or as they were written.

    Raises ``DamagedRecord`` for anything that was never written.
    """
    try:
        kind, names, letters, stored_keys, *stored = decode(plain[1:])
        shape = stored_shape(kind, tuple(names), len(stored))
        if type(letters) is not str or len(letters) != len(stored) + 1 or type(names) is not list:
            raise DamagedRecord("its names and columns do not fit together")
        keys = _keys(letters[0], stored_keys)
        count = len(keys)
        columns = [
            values
            if form == PLAIN and type(values) is list and len(values) == count
            else keys
            if form == SAME
            else forms.unpack(form, values, count, frozen=frozen)
            for form, values in zip(letters[1:], stored, strict=True)
        ]
    except (*UNPACKING_ERRORS, LookupError, AttributeError) as error:
        raise DamagedRecord(f"it does not decode: {error}") from error
    return Columns(shape, keys, columns)


def _keys(form: str, stored: Any) -> Sequence[Any]:
    count = forms.count_of(form, stored)
    if not count:
        raise DamagedRecord("it has no rows")
    # In keys are tuples and frozensets, which cannot be changed anyway.
    return tuple(forms.unpack(form, stored, count, frozen=False))

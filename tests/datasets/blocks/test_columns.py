"""Blocks by columns, which code of before has written, are still read."""

from __future__ import annotations

from base64 import b85decode
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from django_etcdaero.datasets.blocks.codec import Encoder
from django_etcdaero.datasets.blocks.columns import MARK
from django_etcdaero.datasets.blocks.compression import plain_form
from django_etcdaero.datasets.blocks.digests import DamagedRecord
from django_etcdaero.datasets.blocks.encoded_rows import encoded_pairs, rows_of_keys_in
from django_etcdaero.datasets.blocks.partition import decode_block

from .test_codec import identity
from .test_short_rows import product, stored

PRODUCTS = (
    "a1e3d4179dcb0b56b7822847ccec5fd82aa1325a",
    (
        "5mf>J0QG*s+yD>&oT6!Dq;6qtWu<U(X=7!kcV%g3XmqDzXkl(=Wn`ptWo2%oWMO%vbYW+6reR}rX?A6#b#-ZErDJSwV{4>jV"
        "RT`waBy&BWOQ_IXK;0JaF(TWYjrI!rE_a_Eit8YYjrI$rE_a_Ei<KaYjrI&rE_a_Ej5+^0RjUA1(vCBa&KgHV{{-e3IG)`3I"
        "G){3IG)|3IG)}3IOsIHM%e?FfK4LEHExGGAuAIFf%MLE-*AKFfK4PtuQV%Ff1%A2LQ2>!~s>rJO}Cl9{>RW0tx^^0RR923II"
        "X^0006C073%*00RmDLIeN+1PTC=1pojAlEeVSJUjpa0suh=>Hz@>00#m94-^0kZ^Re?3rQga00Gs+J(iN8VS%Ay)d`UR3IG)"
        "W3IG)X3IG)Y3IG)Z3IMkSmczos!o$Ln#6XMyApij100{yB83GOf0qXz>0s!9xk^lvk#{~reyLDs$2mlpEmc#-70{~C~|HJ|R"
    ),
)
TUPLES = (
    "a11d80a917b4f0d65bfbf6262825d051e50280c7",
    "5rzN&0MEgf0g$A1aBy(MU;qIC3mX9+02=}j02>1k02>4l0HFnz009C61O=AB0RYgJp?INqp?INqp?INq",
)


def test_blocks_of_before_are_read() -> None:
    digest, data = bytes.fromhex(PRODUCTS[0]), b85decode(PRODUCTS[1])
    block = decode_block(digest, data)
    found = dict(zip(block.keys, block.rows, strict=True))
    expected = {f"sku-{number}": product(number) for number in range(6)}
    assert {key: identity(row) for key, row in found.items()} == {key: identity(row) for key, row in expected.items()}
    encoder = Encoder()
    assert dict(encoded_pairs(plain_form(data))) == dict(
        zip(*encoder.encode(list(expected), list(expected.values())), strict=True)
    )
    some = dict(encoded_pairs(plain_form(data))[::2])
    assert rows_of_keys_in([(plain_form(data), list(some))]) == some
    block = decode_block(bytes.fromhex(TUPLES[0]), b85decode(TUPLES[1]))
    assert dict(zip(block.keys, block.rows, strict=True)) == {UUID(int=n): (n, None, "x") for n in range(6)}


def forged(*items: Any) -> bytes:
    return MARK + Encoder().scalars(list(items))


STATE = bytes((7, 234, 1, 31, 0, 0, 0, 0, 0, 0))


def when(place: int, byte: int) -> list[Any]:
    return [b"U", STATE[:place] + bytes((byte,)) + STATE[place + 1 :]]


@pytest.mark.parametrize(
    "plain",
    [
        MARK,
        MARK + b"\xc1",
        forged(),
        forged(0, ["a"], "p"),
        forged(0, ["a"], "pp", [1]),
        forged(0, ["a"], "pp", [1], [1, 2]),
        forged(0, ["a"], "pp", [1, 2], [1]),
        forged(0, ["a"], "pp", [], []),
        forged(0, ["a", "b"], "pp", [1], [1]),
        forged(0, ["a", "a"], "ppp", [1], [1], [1]),
        forged(0, "a", "pp", [1], [1]),
        forged(0, [1], "pp", [1], [1]),
        forged(0, ["a"], "pz", [1], [1]),
        forged(0, ["a"], "kp", [1], [1]),
        forged(0, ["a"], "pk", 1, None),
        forged(1, ["a"], "pp", [1], [1]),
        forged(3, [], "pp", [1], [1]),
        forged(None, [], "pp", [1], [1]),
        forged([], [], "pp", [1], [1]),
        forged(0, ["a"], ["p", "p"], [1], [1]),
        forged(0, ["a"], "pd", [1], "1,2"),
        forged(0, ["a"], "pd", [1], "one"),
        forged(0, ["a"], "pd", [1], b"1"),
        forged(0, ["a"], "po", [1], b"\0\0\0"),
        forged(0, ["a"], "po", [1], b"\xff\xff\xff\xff"),
        forged(0, ["a"], "pu", [1], b"x" * 15),
        forged(0, ["a"], "pu", [1], [b"", [1]]),
        forged(0, ["a"], "pu", [1], [b"", [0, 0]]),
        forged(0, ["a"], "pu", [1], [b"", []]),
        forged(0, ["a"], "pu", [1], [b"", ["0"]]),
        forged(0, ["a"], "pg", [1], b"\x91"),
        forged(0, ["a"], "pg", [1], b"\x92\x01\x01"),
        forged(0, ["a"], "pg", [1], "text"),
        forged(0, ["a"], "pt", [1], STATE),
        forged(0, ["a"], "pt", [1], [b"U", STATE + STATE]),
        forged(0, ["a"], "pt", [1], [b"?", STATE]),
        forged(0, ["a"], "pt", [1], [b"U", b"\0" * 9 + b"\1"]),
        *(forged(0, ["a"], "pt", [1], when(*wrong)) for wrong in [(0, 0x27), (2, 0), (2, 13), (2, 4), (2, 2), (3, 0)]),
        *(
            forged(0, ["a"], "pt", [1], when(*wrong))
            for wrong in [(3, 32), (4, 24), (5, 60), (6, 60), (7, 0x10), (0, 255)]
        ),
        b"\xc1\xdd\xff\xff\xff\xff",
        b"\xc1\x95\x00\x91\xa1a\xa2pp\xdd\xff\xff\xff\xff",
        b"\xc1\x95\x00\x91\xa1a\xa2pp\x91\x01\xd6\xff\x00\x00\x00\x00",
        b"\xc1\x95\x00\x91\xa1a\xa2pp\x91\x01\x91\xd6\xff\x00\x00\x00\x00",
    ],
)
@pytest.mark.parametrize("form", ["frozen", "plain"])
def test_what_is_never_written_is_refused_with_the_name_of_the_block(plain: bytes, form: Any) -> None:
    digest, data = stored(plain)
    with pytest.raises(DamagedRecord, match=digest.hex()) as caught:
        decode_block(digest, data, rows=form)
    assert caught.value.digest == digest


def test_the_forger_of_these_tests_can_make_a_right_block() -> None:
    block = decode_block(*stored(forged(0, ["a", "b"], "ptu", [1], [b"U", STATE], [b"", [0]])))
    assert block.rows == [{"a": datetime(2026, 1, 31, tzinfo=UTC), "b": None}]

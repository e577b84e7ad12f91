"""Blocks that are decoded together give what each of them gives alone, and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.digests import DamagedRecord
from django_etcdaero.datasets.blocks.partition import EncodedBlock, decode_block, decode_blocks
from django_etcdaero.exceptions import ConfigurationError

from .test_codec import identity
from .test_short_rows import PRODUCTS, encoded


@dataclass(frozen=True, slots=True)
class Stock:
    name: str
    stock: int | None


STOCKS = {f"k{number}": {"name": f"n{number}", "stock": None if number % 9 else number} for number in range(400)}
FORMS: dict[str, tuple[list[EncodedBlock], dict[str, Any]]] = {
    "alike": (encoded(PRODUCTS), {}),
    "frozen": (encoded(PRODUCTS), {"rows": "frozen"}),
    "by rows among them": (
        [*encoded(PRODUCTS)[:3], *encoded({n: {"n": n} for n in range(3)}), *encoded(PRODUCTS)[3:]],
        {},
    ),
    "of several shapes": ([*encoded(PRODUCTS), *encoded(STOCKS), *encoded({n: (n, "x") for n in range(90)})], {}),
    "instances": (encoded(STOCKS), {"row_type": Stock}),
    "texts": (encoded({n: "x" * n for n in range(90)}), {}),
    "none": ([], {}),
}


def pairs(blocks: list[EncodedBlock]) -> list[tuple[bytes, bytes]]:
    return [(block.digest, block.plain) for block in blocks]


@pytest.mark.parametrize("form", FORMS)
def test_they_give_what_each_gives_alone(form: str) -> None:
    blocks, options = FORMS[form]
    alone = [decode_block(block.digest, block.stored(), **options) for block in blocks]
    together = decode_blocks(pairs(blocks), **options)
    assert [tuple(block.keys) for block in together] == [tuple(block.keys) for block in alone]
    if "row_type" in options:
        assert [list(block.rows) for block in together] == [list(block.rows) for block in alone]
    else:
        assert [list(map(identity, block.rows)) for block in together] == [
            list(map(identity, block.rows)) for block in alone
        ]


def test_the_block_is_named_that_does_not_decode() -> None:
    blocks = pairs(encoded(PRODUCTS))
    digest, plain = blocks[2]
    blocks[2] = (digest, plain[:-1])
    with pytest.raises(DamagedRecord, match=digest.hex()):
        decode_blocks(blocks)


def test_the_row_is_named_that_does_not_fit_its_class() -> None:
    blocks = pairs(encoded(STOCKS | {"k7": {"name": 7, "stock": 1}}))
    with pytest.raises(ConfigurationError, match="'k7'"):
        decode_blocks(blocks, row_type=Stock)

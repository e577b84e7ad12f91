"""What the nodes of a cluster say of how much is in a set."""

from __future__ import annotations

from collections.abc import Iterable

from django_etcdaero.records.store import Fill


def fill_of(sets: Iterable[str], namespaces: Iterable[str]) -> Fill:
    """Return the sum of what each node answers to ``sets/<namespace>/<set>``.

    Each counts the copies that it has: how many there are of a record is in its answer to ``namespace/<namespace>``.
    A node that has no record of the set answers nothing.
    """
    found = [_pairs(text, ":") for text in sets]
    factors = (_number(_pairs(text, ";").get("effective_replication_factor")) for text in namespaces)
    copies = max((factor or 1 for factor in factors), default=1)
    records = sum(_number(each.get("objects")) or 0 for each in found)
    told = [size for each in found if (size := _number(each.get("data_used_bytes"))) is not None]
    return Fill(records=round(records / copies), size=sum(told) if told else None)


def _pairs(text: str, separator: str) -> dict[str, str]:
    return dict(item.partition("=")[::2] for item in text.rstrip(";").split(separator))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None

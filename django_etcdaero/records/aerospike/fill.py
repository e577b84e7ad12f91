"""What the nodes of a cluster say of how much is in a set."""

from __future__ import annotations

from collections.abc import Iterable

from django_etcdaero.records.store import Fill

from .node_answers import number, properties


def fill_of(sets: Iterable[str], namespaces: Iterable[str]) -> Fill:
    """Return the sum of what each node answers to ``sets/<namespace>/<set>``.

    Each counts the copies that it has: how many there are of a record is in its answer to ``namespace/<namespace>``.
    A node that has no record of the set answers nothing.
    """
    found = [properties(text.rstrip(";"), delimiter=":") for text in sets]
    factors = (number(properties(text), "effective_replication_factor") for text in namespaces)
    copies = max((factor or 1 for factor in factors), default=1)
    records = sum(number(each, "objects") or 0 for each in found)
    told = [size for each in found if (size := number(each, "data_used_bytes")) is not None]
    return Fill(records=round(records / copies), size=round(sum(told)) if told else None)

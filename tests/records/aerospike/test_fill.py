"""How full a set is, as the nodes of a cluster say it."""

from __future__ import annotations

from django_etcdaero.records.aerospike.fill import fill_of
from django_etcdaero.records.store import Fill

SET = "objects={}:tombstones=0:data_used_bytes={}:truncate_lut=0:sindexes=0:index_populating=false:truncating=false;"
NAMESPACE = "ns_cluster_size=2;effective_replication_factor={};objects=900"


def test_copies_are_not_counted_as_records() -> None:
    nodes = [SET.format(60, 4096), SET.format(40, 4000)]
    assert fill_of(nodes, [NAMESPACE.format(2)] * 2) == Fill(matching=None, records=50, size=8096)


def test_a_set_without_a_record_is_empty() -> None:
    assert fill_of(["", ""], [NAMESPACE.format(1)]) == Fill(records=0)


def test_bytes_that_a_server_does_not_tell_are_not_known() -> None:
    assert fill_of(["objects=3:tombstones=0;"], [""]) == Fill(records=3)

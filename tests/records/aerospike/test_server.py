"""What the server does, seen through the bare client: what the store relies on, and what it must beware of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import aerospike
import pytest
from aerospike import exception
from aerospike_helpers.batch.records import BatchRecords, Write
from aerospike_helpers.operations import operations

from tests.records.aerospike.line import Line
from tests.records.aerospike.serving import SET, Served
from tests.records.aerospike.standin import Standin

EQ = {"gen": aerospike.POLICY_GEN_EQ}
CREATE = {"exists": aerospike.POLICY_EXISTS_CREATE}
UPDATE = {"exists": aerospike.POLICY_EXISTS_UPDATE}
SEND = {"key": aerospike.POLICY_KEY_SEND}


@pytest.fixture
def client(server: Served) -> Iterator[Any]:
    client = aerospike.client({"hosts": [(server.host, server.port)]})
    yield client
    client.close()


@pytest.fixture
def key(server: Served) -> Callable[[object], tuple[str, str, object]]:
    return lambda key: (server.namespace, SET, bytearray(key) if isinstance(key, bytes) else key)


def code_of(call: Callable[[], object]) -> int:
    with pytest.raises(exception.AerospikeError) as caught:
        call()
    return caught.value.code


def test_result_codes(client: Any, key: Callable) -> None:
    missing, present, text = key(b"missing"), key(b"present"), key(b"text")
    client.put(present, {"v": 1})
    client.put(text, {"v": b"text"})
    step = operations.increment("v", 1)
    codes = {
        "get missing": code_of(lambda: client.get(missing)),
        "remove missing": code_of(lambda: client.remove(missing)),
        "remove missing of a generation": code_of(lambda: client.remove(missing, policy=EQ | {"generation": 1})),
        "touch missing": code_of(lambda: client.operate(missing, [operations.touch()], {}, {"ttl": 5})),
        "touch missing of a generation": code_of(lambda: client.operate(missing, [operations.touch()], {"gen": 1}, EQ)),
        "update missing": code_of(lambda: client.put(missing, {"v": 1}, {}, UPDATE)),
        "increment missing": code_of(lambda: client.operate(missing, [step], {}, UPDATE)),
        "delete missing": code_of(lambda: client.operate(missing, [operations.delete()], {}, UPDATE)),
        "generation": code_of(lambda: client.put(present, {"v": 2}, {"gen": 2}, EQ)),
        "generation of missing": code_of(lambda: client.put(missing, {"v": 2}, {"gen": 2}, EQ)),
        "create present": code_of(lambda: client.put(present, {"v": 2}, {}, CREATE)),
        "increment bytes": code_of(lambda: client.operate(text, [step], {}, UPDATE)),
        "bin name": code_of(lambda: client.put(present, {"v" * 16: 1})),
        "ten years and a second": code_of(lambda: client.put(present, {"v": 1}, {}, {"ttl": 315_360_001})),
        "durable delete": code_of(lambda: client.remove(present, policy={"durable_delete": True})),
        "namespace": code_of(lambda: client.get(("nonesuch", SET, 1))),
    }
    assert codes == {
        "get missing": 2,
        "remove missing": 2,
        "remove missing of a generation": 2,
        "touch missing": 2,
        "touch missing of a generation": 2,
        "update missing": 2,
        "increment missing": 2,
        "delete missing": 2,
        "generation": 3,
        "generation of missing": 3,
        "create present": 5,
        "increment bytes": 12,
        "bin name": 21,
        "ten years and a second": 4,
        "durable delete": 25,
        "namespace": 20,
    }
    assert client.get(present)[2] == {"v": 1}


def test_generations_count_from_1_and_start_again_after_a_delete(client: Any, key: Callable) -> None:
    record = key(b"k")
    for _ in range(3):
        client.put(record, {"v": 1})
    client.operate(record, [operations.touch()])
    client.operate(record, [operations.increment("v", 1)])
    assert client.exists(record)[1]["gen"] == 5
    client.operate(record, [operations.delete()], {}, UPDATE)
    assert client.exists(record)[1] is None
    client.put(record, {"v": 1})
    assert client.exists(record)[1]["gen"] == 1


def test_after_generation_65535_comes_1(standin: Standin, client: Any, key: Callable) -> None:
    client.put(key(b"k"), {"v": 1})
    next(iter(standin.namespace.records.values())).generation = 0xFFFF
    client.put(key(b"k"), {"v": 1})
    assert client.exists(key(b"k"))[1]["gen"] == 1


def test_a_record_lives_until_the_second_after_its_last_has_passed(server: Served, client: Any, key: Callable) -> None:
    client.put(key(b"k"), {"v": 1}, {}, {"ttl": 1})
    server.pass_time(1)
    assert client.exists(key(b"k"))[1]["gen"] == 1
    server.pass_time(1)
    assert client.exists(key(b"k"))[1] is None
    client.put(key(b"k"), {"v": 1}, {}, CREATE)
    assert client.exists(key(b"k"))[1] == {"gen": 1, "ttl": aerospike.TTL_NEVER_EXPIRE}


def test_a_remove_finds_an_expired_record_until_it_is_cleared_away(
    standin: Standin, server: Served, client: Any, key: Callable
) -> None:
    for name in (b"a", b"b", b"c"):
        client.put(key(name), {"v": 1}, {}, {"ttl": 1})
    server.pass_time(2)
    assert client.exists(key(b"a"))[1] is None
    assert code_of(lambda: client.operate(key(b"a"), [operations.delete()], {}, UPDATE)) == 2
    assert client.remove(key(b"b")) == 0
    server.pass_time(standin.namespace.nsup_period)
    assert code_of(lambda: client.remove(key(b"c"))) == 2


def test_a_write_that_does_not_say_its_time_to_live_loses_it(client: Any, key: Callable) -> None:
    for name, options in {b"default": {}, b"kept": {"ttl": aerospike.TTL_DONT_UPDATE}}.items():
        client.put(key(name), {"v": 1}, {}, {"ttl": 1000})
        client.operate(key(name), [operations.increment("v", 1)], {}, options)
    assert client.exists(key(b"default"))[1]["ttl"] == aerospike.TTL_NEVER_EXPIRE
    assert 990 <= client.exists(key(b"kept"))[1]["ttl"] <= 1000


def test_without_nsup_times_to_live_are_refused_also_in_batches(server: Served, client: Any, key: Callable) -> None:
    client.put(key(b"k"), {"v": 1})
    with server.configured("nsup-period", "0"):
        assert code_of(lambda: client.put(key(b"k"), {"v": 2}, {}, {"ttl": 5})) == 22
        assert code_of(lambda: client.operate(key(b"k"), [operations.touch()], {}, {"ttl": 5})) == 22
        rows = [Write(key(b"%d" % number), [operations.write("v", 1)], None, {"ttl": 5}) for number in range(2)]
        batch = client.batch_write(BatchRecords(rows))
        assert (batch.result, [row.result for row in batch.batch_records]) == (-16, [22, 22])
        client.put(key(b"k"), {"v": 3}, {}, {"ttl": aerospike.TTL_NEVER_EXPIRE})
        with server.configured("allow-ttl-without-nsup", "true"):
            client.put(key(b"k"), {"v": 4}, {}, {"ttl": 5})
    assert client.get(key(b"k"))[2] == {"v": 4}


@pytest.mark.parametrize("options", [{}, {"ttl": 1000}, SEND, SEND | {"ttl": 1000}], ids=str)
def test_the_limit_of_a_record_includes_its_overhead(client: Any, key: Callable, options: dict[str, Any]) -> None:
    overhead = 35 + 4 + 1 + (1 + len(SET)) + (2 + 5) + (4 if "ttl" in options else 0) + (7 if "key" in options else 0)
    largest = 1024 * 1024 - overhead
    client.put(key(b"large"), {"v": bytes(largest)}, {}, options)
    assert code_of(lambda: client.put(key(b"large"), {"v": bytes(largest + 1)}, {}, options)) == 13
    assert len(client.get(key(b"large"))[2]["v"]) == largest


def test_increment_wraps_and_creates_when_not_told_otherwise(client: Any, key: Callable) -> None:
    client.put(key(b"n"), {"v": 2**63 - 1})
    client.increment(key(b"n"), "v", 1)
    client.increment(key(b"created"), "v", 1)
    assert client.get(key(b"n"))[2] == {"v": -(2**63)}
    assert client.get(key(b"created"))[2] == {"v": 1}


def test_str_keys_and_values_end_at_nul_and_bytearrays_do_not(client: Any, key: Callable) -> None:
    client.put(key("a\0b"), {"v": "1\0" + "2"})
    assert client.get(key("a"))[2] == {"v": "1"}
    client.put(key(b"a\0b"), {"v": b"1\0" + b"2"})
    assert client.exists(key(b"a"))[1] is None
    assert client.get(key(b"a\0b"))[2] == {"v": b"1\0" + b"2"}


def test_a_scan_tells_keys_only_where_they_were_sent(server: Served, client: Any, key: Callable) -> None:
    client.put(key(b"sent"), {"v": 1}, {}, SEND)
    client.put(key(b"not sent"), {"v": 1})
    keys = [record[0][2] for record in client.query(server.namespace, SET).results()]
    assert sorted(keys, key=str) == [None, bytearray(b"sent")]


def test_a_record_written_in_the_millisecond_of_a_truncation_stays(server: Served, client: Any, key: Callable) -> None:
    for _ in range(500):
        client.put(key(b"k"), {"v": 1})
        client.info_random_node(f"truncate:namespace={server.namespace};set={SET}")
        if client.exists(key(b"k"))[1]:
            break
    else:
        pytest.fail("not once in 500 times")


def test_rows_of_a_batch_are_answered_one_by_one(client: Any, key: Callable) -> None:
    client.put(key(b"a"), {"v": 1})
    rows = [Write(key(name), [operations.touch()], {"gen": 1}, EQ | {"ttl": 50}) for name in (b"a", b"b")]
    client.put(key(b"c"), {"v": 1})
    client.put(key(b"c"), {"v": 1})
    rows += [Write(key(b"c"), [operations.touch()], {"gen": 1}, EQ | {"ttl": 50})]
    batch = client.batch_write(BatchRecords(rows))
    assert [row.result for row in batch.batch_records] == [0, 2, 3]
    batch = client.batch_operate([key(b"a"), key(b"b")], [operations.delete()], {}, UPDATE)
    assert (batch.result, [row.result for row in batch.batch_records]) == (0, [0, 2])
    batch = client.batch_remove([key(b"b"), key(b"c")])
    assert (batch.result, [row.result for row in batch.batch_records]) == (0, [2, 0])


def test_rows_of_a_batch_that_was_never_sent_claim_success(server: Served, line: Line, key: Callable) -> None:
    line.refuse()
    client = aerospike.client({"hosts": [(line.host, line.port)], "fail_if_not_connected": False})
    rows = [Write(key(name), [operations.write("v", 1)]) for name in (b"a", b"b")]
    batch = client.batch_write(BatchRecords(rows))
    assert (batch.result, [row.result for row in batch.batch_records]) == (1, [0, 0])
    batch = client.batch_read([key(b"a"), key(b"b")])
    assert (batch.result, batch.batch_records) == (1, [])
    client.close()

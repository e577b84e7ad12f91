"""A version goes to a file and comes from one, in another place: whole, or not at all."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero import MinRows
from django_etcdaero.datasets.publish.version_file import Header
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.exceptions import ClusterError, CorruptBlock, InvalidRequest, KeyNotFound, ResponseError
from tests.datasets.hosting import FakeHost, follow, history, in_thread, many, publish
from tests.waiting import wait_until

ROWS = many(1500, special={"when": (1, 2), "set": {1}})


@pytest.fixture
def exported(host: FakeHost, declare: Any) -> bytes:
    prices = declare(ROWS)
    publish(prices)
    file = io.BytesIO()
    prices.export_version(file)
    return file.getvalue()


def served(dataset: Any, host: FakeHost) -> dict[Any, Any]:
    follower = follow(dataset, host)
    follower.step()
    follower.close()
    return dict(dataset)


def test_it_comes_back_as_a_new_version(host: FakeHost, declare: Any, tmp_path: Path) -> None:
    prices, path = declare(ROWS), tmp_path / "prices.version"
    publish(prices)
    publish(prices, {"other": 1})
    assert prices.export_version(path, 1).version == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["prices.version"]
    result = prices.import_version(path)
    assert (result.outcome, result.version, result.rows) == (Outcome.REFRESHED, 3, len(ROWS))
    assert history(host, prices) == [3, 2, 1]
    assert served(prices, host) == ROWS
    assert prices.import_version(str(path)).outcome is Outcome.UNCHANGED
    assert (prices.source.loads, host.woken) == (2, 4)


def test_into_another_store(host: FakeHost, declare: Any, exported: bytes) -> None:
    host.records.inner.truncate()
    host.aliases["default"].empty_engine()
    prices = declare({"local": 1})
    publish(prices)
    assert prices.import_version(io.BytesIO(exported)).version == 2
    assert served(prices, host) == ROWS


def test_the_order_of_rows_comes_along(host: FakeHost, declare: Any) -> None:
    rows = dict(reversed(list(many(3000).items())))
    ranking, file = declare(rows, name="ranking", ordered=True), io.BytesIO()
    publish(ranking)
    ranking.export_version(file)
    publish(ranking, dict(sorted(rows.items())))
    file.seek(0)
    assert ranking.import_version(file).outcome is Outcome.REFRESHED
    assert list(served(ranking, host)) == list(rows)


def test_from_a_pipe(host: FakeHost, declare: Any, exported: bytes) -> None:
    prices = declare({"local": 1})
    publish(prices)
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as target:
        small = io.BytesIO()
        prices.export_version(small)  # fits into the pipe
        target.write(small.getvalue())
        target.close()
        assert prices.import_version(source).outcome is Outcome.UNCHANGED


def test_the_path_of_a_pipe_or_device_is_written_and_read_as_it_is(
    host: FakeHost, declare: Any, tmp_path: Path
) -> None:
    prices, pipe = declare({"local": 1}), tmp_path / "pipe"
    publish(prices)
    os.mkfifo(pipe)
    thread, answers = in_thread(lambda: prices.import_version(pipe))
    prices.export_version(pipe)
    thread.join(10)
    assert answers[0].outcome is Outcome.UNCHANGED
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_while_pinned_it_goes_to_the_history_only(host: FakeHost, declare: Any, exported: bytes) -> None:
    prices = declare({"local": 1})
    publish(prices)
    prices.pin(reason="broken source")
    result = prices.import_version(io.BytesIO(exported))
    assert (result.pinned, result.version) == (True, 3)
    assert served(prices, host) == {"local": 1}
    prices.pin(3)
    assert served(prices, host) == ROWS


def test_a_request_stays_for_it_answers_none(host: FakeHost, declare: Any, exported: bytes) -> None:
    prices = declare({"local": 1})
    publish(prices)
    prices.request_refresh()
    assert prices.import_version(io.BytesIO(exported)).ok
    assert host.state(prices).pending is not None
    assert prices.refresh().outcome is Outcome.REFRESHED
    assert host.state(prices).pending is None


def test_validators_refuse_and_nobody_backs_off(host: FakeHost, declare: Any, exported: bytes) -> None:
    prices = declare({"local": 1})
    publish(prices)
    type(prices).validators = (MinRows(5000),)
    result = prices.import_version(io.BytesIO(exported))
    assert (result.outcome, result.ok) == (Outcome.FAILED, False)
    assert "MinRows: 1,501 rows" in (result.error or "")
    assert host.state(prices).attempt is None
    assert [each.results[0].ok for each in prices.refused()] == [False]
    assert prices.import_version(io.BytesIO(exported), skip_validators=True).outcome is Outcome.REFRESHED
    assert prices.history()[0].results[0].text == "left out by hand"


def test_an_import_that_fails_leaves_nothing_behind(host: FakeHost, declare: Any, exported: bytes) -> None:
    prices = declare({"local": 1})
    publish(prices)
    before = host.state(prices)
    host.records.broken = ClusterError("away")
    result = prices.import_version(io.BytesIO(exported))
    host.records.broken = None
    assert (result.outcome, result.error) == (Outcome.FAILED, "ClusterError: away")
    assert host.state(prices) == before
    assert host.listener.failures == [("prices", "refresh", "ClusterError: away")]


def test_an_import_waits_for_the_lock_and_does_its_work(host: FakeHost, declare: Any, exported: bytes) -> None:
    prices = declare({"local": 1})
    lock = host.kv.lock(prices.layout("t").lock)
    lock.acquire()
    assert prices.import_version(io.BytesIO(exported)).outcome is Outcome.LOCKED
    thread, answers = in_thread(lambda: prices.import_version(io.BytesIO(exported), wait=20))
    wait_until(lambda: len(lock.queue()) == 2, 10, "an import in line")
    lock.release()
    thread.join(20)
    assert [each.outcome for each in answers] == [Outcome.UNCHANGED]


@pytest.mark.parametrize("other", [{"name": "costs"}, {"schema": 2}])
def test_that_of_another_dataset_is_refused(host: FakeHost, declare: Any, exported: bytes, other: Any) -> None:
    costs = declare(**other)
    with pytest.raises(InvalidRequest, match="the file holds 'prices' with schema 1"):
        costs.import_version(io.BytesIO(exported))
    assert costs.import_version(io.BytesIO(exported), force=True).outcome is Outcome.REFRESHED
    assert served(costs, host) == ROWS


def first_line(exported: bytes) -> tuple[Any, bytes]:
    line, _, rest = exported.partition(b"\n")
    return json.loads(line), rest


def test_the_header_says_what_it_is(exported: bytes) -> None:
    header, rest = first_line(exported)
    assert set(header) == set(Header.__dataclass_fields__)
    assert (header["format"], header["name"], header["schema"], header["version"], header["rows"]) == (
        "django-etcdaero version", "prices", 1, 1, len(ROWS)
    )  # fmt: skip
    assert rest[:20].hex() == header["root"]


def damaged(exported: bytes) -> dict[str, tuple[bytes, str]]:
    header, rest = first_line(exported)
    line = exported[: -len(rest)]

    def with_header(**changes: Any) -> bytes:
        return json.dumps(header | changes).encode() + b"\n" + rest

    flipped = bytearray(exported)
    flipped[-10] ^= 1
    length = int.from_bytes(rest[20:24], "big") + 24
    return {
        "nothing": (b"", "its first line is something else"),
        "another file": (b"PK\x03\x04 zip", "its first line is something else"),
        "a newer format": (with_header(format_number=2), "has the format 2"),
        "a header that lacks a field": (with_header(root=None), "bad 'root'"),
        "a header with a root that is none": (with_header(root="xyz"), "bad 'root'"),
        "another root": (with_header(root="00" * 20), "1 of 1 root records are missing"),
        "another number": (with_header(rows=7), "does not fit"),
        "a bit that flipped": (bytes(flipped), "record [0-9]+ is damaged: block [0-9a-f]{40}"),
        "an end that is missing": (exported[:-1], "ends inside record"),
        "a record that is missing": (line + rest[:length], "ends before record 2 of"),
        "a record that is there twice": (line + rest[:length] + rest[:length], "record 2 is there twice"),
        "more than there should be": (exported + b"x", "goes on after its"),
        "a record of another version": (
            with_header(records=header["records"] + 1) + b"x" * 20 + bytes(4),
            "record [0-9]+ is no part of the version",
        ),
        "a record under another name": (
            line + rest[: length + 19] + b"?" + rest[length + 20 :],
            "is missing|are missing",
        ),
        "a length beyond all bounds": (line + rest[:20] + b"\xff\xff\xff\xff" + rest[24:], "4,294,967,295 bytes"),
    }


@pytest.mark.parametrize("what", damaged(b'{"root": "", "records": 1}\n' + bytes(64)))
def test_a_damaged_file_is_refused_and_nothing_is_done(
    host: FakeHost, declare: Any, exported: bytes, what: str
) -> None:
    prices = declare({"local": 1})
    publish(prices)
    before = host.state(prices)
    data, said = damaged(exported)[what]
    with pytest.raises(ResponseError, match=said):
        prices.import_version(io.BytesIO(data))
    assert host.state(prices) == before


def test_a_damaged_version_is_not_exported(host: FakeHost, declare: Any, tmp_path: Path) -> None:
    prices, path = declare(), tmp_path / "prices.version"
    with pytest.raises(KeyNotFound, match="nothing has been published yet"):
        prices.export_version(path)
    publish(prices)
    path.write_text("what was there")
    publish(prices, {"a": 2})
    block = prices.diff()._sides[1].blocks[0]
    host.records.inner.put(prices.layout("t").record(block), b"\x10nonsense")
    with pytest.raises(CorruptBlock):
        prices.export_version(path)
    host.records.inner.delete(prices.layout("t").record(block))
    with pytest.raises(CorruptBlock, match="a part of version 2 is missing"):
        prices.export_version(path)
    assert path.read_text() == "what was there"
    assert os.listdir(tmp_path) == ["prices.version"]
    with pytest.raises(FileNotFoundError):
        prices.import_version(tmp_path / "nowhere")


def test_headers_are_values() -> None:
    header = Header(
        name="a",
        schema=1,
        version=1,
        root="0" * 40,
        rows=0,
        records=1,
        stored_bytes=0,
        published_at=0.0,
        load_started=0.0,
    )
    assert Header.read(io.BytesIO(header.encode())) == header
    assert dataclasses.asdict(header)["format_number"] == 1

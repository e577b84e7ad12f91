from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero import schemes
from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest
from django_etcdaero.records.memory.store import MemoryStore
from django_etcdaero.schemes import ENGINES, STORES, parse
from django_etcdaero.stores.address import Address, Plane, Reach
from django_etcdaero.stores.local import FileAddress, MemoryAddress
from django_etcdaero.stores.scheme import Scheme
from django_etcdaero.stores.url import mask

BASE = Path("/srv/shop")
BOTH = pytest.mark.parametrize("plane", Plane)


@BOTH
def test_memory_locations_are_told_apart_by_their_name(plane: Plane) -> None:
    unnamed, named = parse("mem:", plane=plane), parse("mem:orders", plane=plane)
    assert (unnamed, unnamed.safe) == (MemoryAddress(""), "mem:")
    assert (named, named.safe) == (MemoryAddress("orders"), "mem:orders")
    assert unnamed.reach is Reach.PROCESS


@BOTH
def test_a_relative_file_is_below_the_base_directory(plane: Plane) -> None:
    location = parse("sqlite:///.etcdaero/kv.sqlite3", plane=plane, base_dir=BASE)
    assert location == FileAddress(Path("/srv/shop/.etcdaero/kv.sqlite3"))
    assert location.safe == "sqlite:////srv/shop/.etcdaero/kv.sqlite3"
    assert location.reach is Reach.HOST


def test_an_absolute_file_needs_no_base_directory() -> None:
    assert parse("sqlite:////var/lib/kv.sqlite3", plane=Plane.KV) == FileAddress(Path("/var/lib/kv.sqlite3"))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///kv.sqlite3",
        "SQLite:///kv.sqlite3",
        "sqlite:////srv/shop/kv.sqlite3",
        "sqlite://///srv/shop/kv.sqlite3",
        "sqlite:///./data/../kv.sqlite3",
        "sqlite:///kv%2Esqlite3",
    ],
)
def test_spellings_of_one_file_are_one_location(url: str) -> None:
    expected = parse("sqlite:///kv.sqlite3", plane=Plane.KV, base_dir=BASE)
    assert parse(url, plane=Plane.KV, base_dir=BASE) == expected
    assert hash(parse(url, plane=Plane.KV, base_dir=BASE)) == hash(expected)


@given(name=st.text(st.characters(exclude_characters="/\x00", codec="utf-8"), min_size=1))
def test_the_safe_form_of_a_file_can_be_parsed_again(name: str) -> None:
    location = FileAddress(BASE / f"{name}.sqlite3")
    parsed = parse(f"sqlite:///{quote(str(location.path))}", plane=Plane.KV)
    assert parsed == location
    assert parse(parsed.safe, plane=Plane.KV) == parsed


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "is empty"),
        ("sqlite:///", "does not name a file"),
        ("sqlite:////", "does not name a file"),
        ("sqlite:///data/", "does not name a file"),
        ("sqlite:///data/..", "does not name a file"),
        ("sqlite:///a%00b", "does not name a file"),
        ("sqlite://data/kv.sqlite3", "three slashes"),
        ("sqlite:kv.sqlite3", "three slashes"),
        ("sqlite:///:memory:", "mem:"),
        ("sqlite:///kv.sqlite3?timeout=3", "takes no options"),
        ("sqlite:///kv.sqlite3#1", "takes no options"),
        ("mem://orders", "letters, digits"),
        ("mem:/orders", "letters, digits"),
        ("mem:a b", "white space"),
        ("mem:a\n", "white space"),
        ("mem:ä", "letters, digits"),
        ("localhost:2379", "no known URL scheme"),
        ("kv.sqlite3", "no known URL scheme"),
    ],
)
@BOTH
def test_a_wrong_url_is_refused_with_the_reason(url: str, reason: str, plane: Plane) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        parse(url, plane=plane, base_dir=BASE)


def test_a_relative_file_without_base_directory_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="BASE_DIR"):
        parse("sqlite:///kv.sqlite3", plane=Plane.KV)


@pytest.mark.parametrize(("value", "kind"), [(None, "NoneType"), (5, "int"), (b"mem:", "bytes"), ({}, "dict")])
def test_what_is_no_str_is_refused_by_its_type(value: object, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"not {kind}$"):
        parse(value, plane=Plane.KV)


def test_an_unknown_scheme_is_answered_with_the_known_ones_and_a_guess() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("sqllite:///kv.sqlite3", plane=Plane.KV, base_dir=BASE)
    message = str(caught.value)
    assert "did you mean 'sqlite'?" in message
    assert all(f"{message} or ".count(f" {scheme.forms} or ") == 1 for scheme in ENGINES.values())
    with pytest.raises(ConfigurationError, match="'redis://h' has no known URL scheme; use mem:"):
        parse("redis://h", plane=Plane.KV)


@dataclass(frozen=True)
class SharedAddress(Address):
    reach: ClassVar[Reach] = Reach.CLUSTER
    prefix_required: ClassVar[bool] = True

    host: str

    @property
    def safe(self) -> str:
        return f"shared://{self.host}"


@pytest.fixture
def shared_records_scheme(monkeypatch: pytest.MonkeyPatch) -> str:
    scheme = Scheme(
        names=("shared",),
        forms="shared://host",
        address=SharedAddress,
        parse=lambda parts, base_dir: SharedAddress(str(parts.hostname)),
        open=lambda address, timeout: MemoryStore("test-locations-shared"),
    )
    monkeypatch.setitem(STORES, "shared", scheme)
    return "shared://me:hunter2@example.com"


def test_a_scheme_serves_only_the_planes_it_can_be_opened_for(shared_records_scheme: str) -> None:
    location = parse(shared_records_scheme, plane=Plane.RECORDS)
    assert location.prefix_required
    schemes.open_store(location, timeout=5).close()
    with pytest.raises(ConfigurationError, match="cannot be used as KV"):
        parse(shared_records_scheme, plane=Plane.KV)
    with pytest.raises(ConfigurationError, match="cannot be used as KV"):
        schemes.open_engine(location, timeout=5)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("etcd://h1:2379,h2:2379", "etcd://h1:2379,h2:2379"),
        ("etcd://root:hunter2@h1:2379,h2:2379/", "etcd://***@h1:2379,h2:2379/"),
        ("etcd://root:hun/te?r2@h1", "etcd://***@h1"),
        ("etcd://root:hun#ter2@h1", "etcd://***@h1"),
        ("etcd://root:hun@ter2@h1", "etcd://***@h1"),
        ("root:hunter2@h1:2379", "***@h1:2379"),
        ("etcds://h1?ca=hunter2&key=hunter2", "etcds://h1?ca=***&key=***"),
        ("etcds://h1?pasword=hunter2;token=hunter2", "etcds://h1?pasword=***;token=***"),
        ("aerospike://h?hunter2", "aerospike://h?***"),
        ("aerospike://h#hunter2", "aerospike://h#***"),
    ],
)
def test_masking_hides_credentials_and_keeps_the_rest(url: str, masked: str) -> None:
    assert mask(url) == masked


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:hunter2@host/0",
        "redis://host/0?password=hunter2",
        "etcd://me:hunter2@[::1",
        "me:hunter2@host",
        "sqlite://me:hunter2@host/file",
        "sqlite:///file?key=hunter2",
        "mem:x?token=hunter2",
        "mem://me:hunter2@x",
        "redis://me:hunter2 @host",
    ],
)
@BOTH
def test_no_error_shows_a_password(url: str, plane: Plane) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(url, plane=plane, base_dir=BASE)
    error: BaseException | None = caught.value
    assert "***" in str(error)
    while error is not None:
        assert "hunter2" not in repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_memory_engines_of_one_name_share_their_keys() -> None:
    location = parse("mem:test-locations", plane=Plane.KV)
    one, other = schemes.open_engine(location, timeout=5), schemes.open_engine(location, timeout=5)
    try:
        one.put(PutRequest(b"k", b"v"))
        assert [kv.value for kv in other.range(RangeRequest(b"k")).kvs] == [b"v"]
    finally:
        one.close()
        other.close()


def test_file_engines_of_one_path_share_their_keys(tmp_path: Path) -> None:
    location = parse("sqlite:///kv.sqlite3", plane=Plane.KV, base_dir=tmp_path)
    one, other = schemes.open_engine(location, timeout=5), schemes.open_engine(location, timeout=5)
    try:
        one.put(PutRequest(b"k", b"v"))
        assert [kv.value for kv in other.range(RangeRequest(b"k")).kvs] == [b"v"]
    finally:
        one.close()
        other.close()


@pytest.mark.parametrize("url", ["mem:test-locations", "sqlite:///records.sqlite3"])
def test_stores_of_one_location_share_their_records(url: str, tmp_path: Path) -> None:
    location = parse(url, plane=Plane.RECORDS, base_dir=tmp_path)
    one, other = schemes.open_store(location, timeout=5), schemes.open_store(location, timeout=5)
    try:
        one.put(b"k", b"v")
        record = other.get(b"k")
        assert record is not None
        assert record.value == b"v"
    finally:
        one.close()
        other.close()

"""Users and encryption, which Community Edition does not have: on the stand-in, through the URL of the settings."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from django_etcdaero import schemes
from django_etcdaero.exceptions import ClusterError, ConfigurationError, EtcdAeroError, Unauthenticated
from django_etcdaero.records.store import RecordStore
from django_etcdaero.stores.address import Plane
from tests.certificates import Authority
from tests.records.aerospike.standin import Standin

PASSWORD = "let:me/in@home"
USERS = {"shop": "$2a$10$7EqJtq98hPqEX7fNZaFWoOZM18iN0hlc7Azn73kRjrq8.8dR6/DOK"}
KEYS = [f"k{number}".encode() for number in range(20)]

Open = Callable[..., RecordStore]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def open_url() -> Iterator[Open]:
    """Open the store at a URL as the settings do."""
    opened: list[RecordStore] = []

    def open_url(url: str) -> RecordStore:
        opened.append(schemes.open_store(schemes.parse(url, plane=Plane.RECORDS), timeout=5.0))
        return opened[-1]

    yield open_url
    for store in opened:
        store.close()


def use(store: RecordStore) -> None:
    """Use it in every way that has a connection of its own."""
    store.put_many(dict.fromkeys(KEYS, b"v"), ttl=60)
    store.put(b"one", b"w")
    assert store.get_many(KEYS).keys() == set(KEYS)
    assert store.get(b"one").value == b"w"  # type: ignore[union-attr]
    assert {key for key, _ in store.scan()} == {*KEYS, b"one"}
    store.truncate()
    assert store.exists_many([b"one"]) == {}


def error_of(store: RecordStore) -> EtcdAeroError:
    with pytest.raises(EtcdAeroError) as caught:
        store.get(b"k")
    return caught.value


# --- users -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded() -> Iterator[Standin]:
    with Standin(users=USERS) as standin:
        yield standin


def test_user_and_password_of_the_url_open_the_server(guarded: Standin, open_url: Open) -> None:
    use(open_url(f"aerospike://shop:{quote(PASSWORD, safe='')}@{guarded.host}:{guarded.port}/test/s"))
    assert set(guarded.security.tokens.values()) == {"shop"}


@pytest.mark.parametrize(
    "credentials", ["shop:wrong@", "nobody:wrong@", ""], ids=["wrong password", "unknown user", "without"]
)
def test_whoever_is_not_let_in_is_told_so(guarded: Standin, open_url: Open, credentials: str) -> None:
    error = error_of(open_url(f"aerospike://{credentials}{guarded.host}:{guarded.port}/test/s"))
    assert type(error) is Unauthenticated
    assert f"aerospike://{guarded.host}:{guarded.port}/test/s" in str(error)
    assert "wrong" not in str(error)


# --- encryption ------------------------------------------------------------------------------------------------------


def encryption(authority: Authority, *, of_clients: bool) -> ssl.SSLContext:
    """Return how a server encrypts that has a certificate of ``authority``, and perhaps wants one of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    if of_clients:
        context.load_verify_locations(authority.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def encrypted(authority: Authority) -> Iterator[Standin]:
    with Standin(tls=encryption(authority, of_clients=False)) as standin:
        yield standin


@pytest.fixture
def mutual(authority: Authority) -> Iterator[Standin]:
    with Standin(tls=encryption(authority, of_clients=True), users=USERS) as standin:
        yield standin


def test_everything_works_encrypted(encrypted: Standin, authority: Authority, open_url: Open) -> None:
    store = open_url(f"aerospikes://localhost:{encrypted.port}/test/s?ca={authority.certificate}")
    use(store)
    assert store.info.location == f"aerospikes://localhost:{encrypted.port}/test/s"


def test_a_server_that_is_not_called_as_in_its_certificate_is_given_a_name(
    encrypted: Standin, authority: Authority, open_url: Open
) -> None:
    url = f"aerospikes://{encrypted.host}:{encrypted.port}/test/s?ca={authority.certificate}"
    use(open_url(f"{url}&name=localhost"))
    error = error_of(open_url(url))
    assert type(error) is ClusterError
    assert "for '127.0.0.1'" in str(error)


def test_certificate_user_and_password_together(mutual: Standin, authority: Authority, open_url: Open) -> None:
    certificate, key = authority.issue("client")
    url = f"aerospikes://shop:{quote(PASSWORD, safe='')}@localhost:{mutual.port}/test/s?ca={authority.certificate}"
    use(open_url(f"{url}&cert={certificate}&key={key}"))
    error = error_of(open_url(url))
    assert type(error) is ClusterError
    assert PASSWORD not in str(error)
    assert quote(PASSWORD, safe="") not in str(error)


def test_a_server_of_an_unknown_authority_is_not_talked_to(encrypted: Standin, open_url: Open, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    error = error_of(open_url(f"aerospikes://localhost:{encrypted.port}/test/s?ca={stranger.certificate}"))
    assert type(error) is ClusterError
    assert "no encrypted connection" in str(error)


@pytest.mark.parametrize("option", ["ca", "cert", "key"])
def test_a_file_that_is_missing_is_named(encrypted: Standin, authority: Authority, open_url: Open, option: str) -> None:
    certificate, key = authority.issue("client")
    files = {"ca": authority.certificate, "cert": certificate, "key": key, option: "/nowhere/file.pem"}
    options = "&".join(f"{name}={path}" for name, path in files.items())
    error = error_of(open_url(f"aerospikes://localhost:{encrypted.port}/test/s?{options}"))
    assert type(error) is ConfigurationError
    assert f"TLS file {option} cannot be read" in str(error)
    assert "/nowhere/file.pem" in str(error)


def test_plain_and_encrypted_do_not_go_together(encrypted: Standin, open_url: Open) -> None:
    assert type(error_of(open_url(f"aerospike://localhost:{encrypted.port}/test/s"))) is ClusterError
    with Standin() as plain:
        error = error_of(open_url(f"aerospikes://localhost:{plain.port}/test/s"))
    assert type(error) is ClusterError
    assert "no encrypted connection" in str(error)

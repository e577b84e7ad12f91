"""Encrypted connections."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from django_etcdaero.exceptions import ClusterError, ConfigurationError
from django_etcdaero.keyvalue.etcd import EtcdEngine, Tls
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, WatchRequest
from tests.certificates import Authority, openssl
from tests.keyvalue.etcd.servers import Server, encrypted_server
from tests.keyvalue.recording import Recording, short

Connect = Callable[..., EtcdEngine]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with encrypted_server(authority, tmp_path_factory.mktemp("encrypted")) as server:
        yield server


@pytest.fixture(scope="module")
def files(authority: Authority) -> Tls:
    certificate, key = authority.issue("client")
    return Tls(ca=str(authority.certificate), cert=str(certificate), key=str(key))


def test_everything_works_encrypted(encrypted: Server, files: Tls, connect: Connect) -> None:
    engine = connect([encrypted.endpoint], tls=files)
    seen = Recording()
    engine.watch(WatchRequest(b"a"), seen)
    engine.put(PutRequest(b"a", b"1"))
    assert short(seen.wait(1)) == ["+a=1"]
    assert engine.lease_keep_alive(engine.lease_grant(60).id) == 60
    assert engine.info.location == f"etcds://{encrypted.endpoint}"


def test_a_host_name_is_checked_against_the_certificate(encrypted: Server, files: Tls, connect: Connect) -> None:
    engine = connect([f"localhost:{encrypted.client_port}"], tls=files)
    engine.put(PutRequest(b"a", b"2"))
    assert engine.range(RangeRequest(b"a")).kvs[0].value == b"2"


def test_a_client_without_certificate_is_turned_away(encrypted: Server, files: Tls, connect: Connect) -> None:
    engine = connect([encrypted.endpoint], tls=Tls(ca=files.ca))
    with pytest.raises(ClusterError):
        engine.range(RangeRequest(b"a"), timeout=0.5)


def test_a_server_of_an_unknown_authority_is_not_talked_to(encrypted: Server, connect: Connect, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    for tls in (Tls(ca=str(stranger.certificate)), Tls()):
        engine = connect([encrypted.endpoint], tls=tls)
        with pytest.raises(ClusterError, match=r"(?i)certificate|ssl|handshake"):
            engine.put(PutRequest(b"a"), timeout=0.5)


def test_a_file_that_is_missing_is_named(encrypted: Server, connect: Connect) -> None:
    engine = connect([encrypted.endpoint], tls=Tls(ca="/nowhere/ca.pem"))
    for call in (
        lambda: engine.range(RangeRequest(b"a")),
        lambda: engine.watch(WatchRequest(b"a"), Recording()),
    ):
        with pytest.raises(ConfigurationError, match=r"ca .*/nowhere/ca\.pem"):
            call()


def pem(kind: str) -> str:
    """Return a file that looks right and holds nothing of use."""
    return f"-----BEGIN {kind}-----\nMAMCAQA=\n-----END {kind}-----\n"


@pytest.fixture
def broken(authority: Authority, tmp_path: Path) -> dict[str, Path]:
    """Files that are not what a client needs, by what is wrong with them."""
    _, key = authority.issue("broken")
    contents = {
        "empty": "",
        "no PEM": "nothing of the kind\n",
        "damaged certificate": pem("CERTIFICATE"),
        "good and damaged": authority.certificate.read_text() + pem("CERTIFICATE"),
        "damaged key": pem("PRIVATE KEY"),
    }
    files = {name: tmp_path / name for name in (*contents, "passphrase", "passphrase of old", "another algorithm")}
    for name, text in contents.items():
        files[name].write_text(text)
    openssl("pkcs8", "-topk8", "-in", key, "-passout", "pass:secret", "-out", files["passphrase"])
    openssl("ec", "-in", key, "-aes128", "-passout", "pass:secret", "-out", files["passphrase of old"])
    openssl("genpkey", "-algorithm", "ed25519", "-out", files["another algorithm"])
    return files | {"key": key, "certificate": authority.certificate}


NO_CERTIFICATE = "has no certificate in PEM format, or a damaged one"
NO_KEY = "has no private key in PEM format, or a damaged one"


@pytest.mark.parametrize(
    ("option", "file", "problem"),
    [
        *(
            (option, file, NO_CERTIFICATE)
            for option in ("ca", "cert")
            for file in ("empty", "no PEM", "damaged certificate", "good and damaged", "key")
        ),
        *(("key", file, NO_KEY) for file in ("empty", "no PEM", "damaged key", "certificate")),
        *(("key", file, "is not the key of the .* in '.*client.pem'") for file in ("key", "another algorithm")),
        *(("key", file, "is protected by a passphrase") for file in ("passphrase", "passphrase of old")),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    files: Tls, broken: dict[str, Path], connect: Connect, option: str, file: str, problem: str
) -> None:
    engine = connect(["127.0.0.1:1"], tls=replace(files, **{option: str(broken[file])}))
    with pytest.raises(ConfigurationError, match=f"the TLS file {option} cannot be used: '{broken[file]}' {problem}"):
        engine.range(RangeRequest(b"a"))


def test_certificate_and_key_that_are_exchanged_are_named(files: Tls, connect: Connect) -> None:
    engine = connect(["127.0.0.1:1"], tls=replace(files, cert=files.key, key=files.cert))
    with pytest.raises(ConfigurationError, match=rf"the TLS file cert .*client\.key' {NO_CERTIFICATE}"):
        engine.range(RangeRequest(b"a"))


def test_whether_a_short_key_will_do_is_up_to_the_server(files: Tls, connect: Connect, tmp_path: Path) -> None:
    certificate, key = tmp_path / "weak.pem", tmp_path / "weak.key"
    request = ("req", "-x509", "-newkey", "rsa:1024", "-sha1", "-nodes", "-subj", "/CN=weak")
    openssl(*request, "-keyout", key, "-out", certificate)
    engine = connect(["127.0.0.1:1"], tls=replace(files, cert=str(certificate), key=str(key)))
    with pytest.raises(ClusterError):
        engine.range(RangeRequest(b"a"), timeout=0.5)


def test_a_certificate_with_its_authority_and_its_key_may_be_one_file(
    encrypted: Server, files: Tls, connect: Connect, tmp_path: Path
) -> None:
    together = tmp_path / "together.pem"
    together.write_text("".join(Path(str(path)).read_text() for path in (files.cert, files.ca, files.key)))
    engine = connect([encrypted.endpoint], tls=Tls(ca=str(together), cert=str(together), key=str(together)))
    engine.put(PutRequest(b"a", b"3"))


def test_a_file_that_was_put_right_is_used_by_the_next_call(
    encrypted: Server, files: Tls, connect: Connect, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    engine = connect([encrypted.endpoint], tls=replace(files, ca=str(ca)))
    with pytest.raises(ConfigurationError, match=f"ca .*{ca}"):
        engine.put(PutRequest(b"a", b"4"))
    ca.write_bytes(Path(str(files.ca)).read_bytes())
    engine.put(PutRequest(b"a", b"4"))


def test_certificate_and_key_belong_together() -> None:
    with pytest.raises(ConfigurationError, match="cert and key"):
        Tls(cert="client.pem")


def test_files_that_were_replaced_are_used_when_the_old_ones_do_not_do_any_more(
    connect: Connect, tmp_path: Path
) -> None:
    homes = [tmp_path / name for name in ("old", "new", "client")]
    for home in homes:
        home.mkdir()
    old, new, mine = Authority(homes[0]), Authority(homes[1]), homes[2]
    trusted = tmp_path / "trusted.pem"
    certificate, key = old.issue("server")

    def replace_with(authority: Authority) -> tuple[str, ...]:
        shutil.copy(authority.certificate, trusted)
        for source, name in zip(authority.issue("client"), ("client.pem", "client.key"), strict=True):
            shutil.copy(source, mine / name)
        return ("--cacert", str(old.certificate), "--cert", f"{mine}/client.pem", "--key", f"{mine}/client.key")

    options = ["--cert-file", certificate, "--key-file", key, "--client-cert-auth", "--trusted-ca-file", trusted]
    server = Server("renewed", tmp_path / "renewed", options=list(map(str, options)), tls=True)
    with server.running(*replace_with(old)):
        tls = Tls(ca=str(old.certificate), cert=f"{mine}/client.pem", key=f"{mine}/client.key")
        engine = connect([server.endpoint], tls=tls)
        seen = Recording()
        engine.watch(WatchRequest(b"a"), seen)
        engine.put(PutRequest(b"a", b"1"))
        server.kill()
        shown = replace_with(new)
        server.start()
        server.wait_ready(*shown)
        assert engine.range(RangeRequest(b"a"), timeout=20).kvs[0].value == b"1"
        engine.put(PutRequest(b"a", b"2"))
        assert short(seen.wait(2)) == ["+a=1", "+a=2"]

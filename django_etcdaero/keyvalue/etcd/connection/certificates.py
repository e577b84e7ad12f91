"""What gRPC needs for an encrypted connection, read from files and checked.

gRPC takes whatever it is given. When it cannot make a connection with it, it repeats that for as long as the call may
take, and does not say which of the files is wrong.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import grpc

from django_etcdaero.exceptions import ConfigurationError

_MISMATCHES = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
"""What OpenSSL says of a key for another certificate; the last two if they are of different algorithms."""


def read_credentials(*, ca: str | None, cert: str | None, key: str | None) -> Any:
    """Return credentials for a channel of gRPC. See :class:`~django_etcdaero.stores.credentials.Tls` for the paths.

    Raises ``ConfigurationError`` that names the file which cannot be read or is not what it should be.
    """
    contents = {option: _contents(option, path) for option, path in (("ca", ca), ("cert", cert), ("key", key))}
    if ca is not None:
        _check_certificates("ca", ca)
    if cert is not None and key is not None:
        _check_certificates("cert", cert)
        _check_key(cert, key)
    return grpc.ssl_channel_credentials(contents["ca"], contents["key"], contents["cert"])


def stamp(paths: Iterable[str | None]) -> tuple[object, ...]:
    """Return what changes when one of the files is replaced or written to."""
    found: list[object] = []
    for path in paths:
        try:
            status = os.stat(path) if path is not None else None
        except OSError:
            found.append(None)
        else:
            found.append(status and (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _contents(option: str, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the TLS file {option} cannot be read: {error}") from error


def _check_certificates(option: str, path: str) -> None:
    try:
        _context().load_verify_locations(path)
    except OSError as error:  # also if the file has just gone
        raise _unusable(option, path, "has no certificate in PEM format, or a damaged one") from error


def _check_key(cert: str, key: str) -> None:
    """Check ``key`` against ``cert``, which is known to have certificates."""

    def refuse() -> NoReturn:
        # Asked for a passphrase. Without this function OpenSSL would ask for it at the terminal.
        raise _unusable("key", key, "is protected by a passphrase; only keys without one can be used")

    try:
        _context().load_cert_chain(cert, key, refuse)
    except OSError as error:
        if getattr(error, "reason", None) in _MISMATCHES:
            problem = f"is not the key of the (first) certificate in {cert!r}, the file cert"
        else:
            problem = "has no private key in PEM format, or a damaged one"
        raise _unusable("key", key, problem) from error


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Else it refuses short keys and old signatures. Whether those will do is up to the server and to gRPC.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _unusable(option: str, path: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"the TLS file {option} cannot be used: {path!r} {problem}")

"""How to get into a store on servers: user and password, and the files of an encrypted connection."""

from __future__ import annotations

from dataclasses import dataclass, field

from django_etcdaero.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and the password. Neither is in the ``repr``."""

    user: str = field(repr=False)
    password: str = field(repr=False)


def both_or_none(user: str | None, password: str | None) -> Credentials | None:
    """Return the credentials, or ``None`` when neither is given. Raises ``ConfigurationError`` when one is missing."""
    if user is None and password is None:
        return None
    if user is None or password is None:
        raise ConfigurationError("user and password are given together or not at all")
    return Credentials(user, password)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How to encrypt the connections, as paths of PEM files.

    Raises ``ConfigurationError`` unless ``cert`` and ``key`` go together.
    """

    ca: str | None = None
    """Certificates of the authorities to trust; ``None``: those that the client library or the system brings along."""
    cert: str | None = None
    """Certificate (chain) that the client shows, for servers that ask for one."""
    key: str | None = None
    """Private key of ``cert``, without a passphrase."""
    name: str | None = None
    """Name that the certificates of Aerospike's servers must have (a DNS or common name; addresses in certificates do
    not count); ``None``: the host's. etcd's are always checked against the host."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ConfigurationError("cert and key are given together or not at all")

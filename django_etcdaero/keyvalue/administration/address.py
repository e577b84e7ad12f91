"""Where a member is, as a user writes it and as etcd says it."""

from __future__ import annotations

from django_etcdaero.exceptions import ConfigurationError, InvalidRequest
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.stores.endpoint import parse_endpoint as _parse


def parse_endpoint(text: str) -> Endpoint:
    """Read ``host:port``, or the same as a URL. Raises ``InvalidRequest``."""
    try:
        return _parse(text.rpartition("://")[2].rstrip("/"))
    except ConfigurationError as error:
        raise InvalidRequest(f"endpoint {text!r}: {error}") from None


def parse_client_url(url: str, *, encrypted: bool) -> Endpoint | None:
    """Return where a member says it serves clients; ``None`` if not over TCP, or not encrypted as it should be."""
    scheme, _, address = url.partition("://")
    try:
        return _parse(address.rstrip("/")) if scheme == ("https" if encrypted else "http") else None
    except ConfigurationError:
        return None

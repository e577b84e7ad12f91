"""Users and sessions as the client meets them at a server that has users (Enterprise Edition).

Each connection begins with a frame of its own type: the first one of a client logs in with a hash of the password and
is given a token, the others show the token. Without that the server refuses whatever is asked.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.records.aerospike.standin import frames

NO_SECURITY, BAD_USER, BAD_PASSWORD, NOT_AUTHENTICATED = 51, 60, 62, 80
"""Results. The first is what Community Edition answers to a login."""

_AUTHENTICATE, _LOGIN = 0, 20
_USER, _CREDENTIAL, _TOKEN, _LIFETIME = 0, 3, 5, 6
_HEADER = 16
_SECONDS = (86400).to_bytes(4, "big")


@dataclass
class Security:
    """The users of a server by name, each with the hash of its password as the client sends it; none: no security.

    Clients hash with bcrypt, always with the salt ``$2a$10$7EqJtq98hPqEX7fNZaFWoO``.
    """

    users: Mapping[str, str]
    tokens: dict[bytes, str] = field(default_factory=dict)
    """Sessions that were begun."""

    def answer(self, body: bytes) -> tuple[bool, bytes]:
        """Return whether the connection may be used from now on, and the body of the answer."""
        result, fields = self._check(body[2], frames.parse_fields(body, _HEADER, body[3])[0])
        head = bytes((0, result, 0, len(fields))) + bytes(_HEADER - 4)
        told = b"".join((len(data) + 1).to_bytes(4, "big") + bytes((kind,)) + data for kind, data in fields.items())
        return result == 0, head + told

    def _check(self, command: int, fields: Mapping[int, bytes]) -> tuple[int, dict[int, bytes]]:
        if not self.users:
            return NO_SECURITY, {}
        user = fields[_USER].decode()
        if command == _AUTHENTICATE:
            return (0 if self.tokens.get(fields[_TOKEN]) == user else NOT_AUTHENTICATED), {}
        assert command == _LOGIN
        if user not in self.users:
            return BAD_USER, {}
        if self.users[user].encode() != fields[_CREDENTIAL]:
            return BAD_PASSWORD, {}
        token = secrets.token_bytes(16)
        self.tokens[token] = user
        return 0, {_TOKEN: token, _LIFETIME: _SECONDS}

"""Users, roles and permissions of a cluster.

Names and passwords are examined before they become part of a message: protobuf's own complaint about a text that cannot
be encoded quotes it, and the server's about an empty user name is the one it gives for a missing token.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from django_etcdaero.exceptions import FailedPrecondition, InvalidRequest, NotSupported, Unauthenticated
from django_etcdaero.keyvalue.arguments import check_choice, check_text
from django_etcdaero.keyvalue.keys import Text, span
from django_etcdaero.system.acting import acts
from django_etcdaero.system.twins import twins

from .asking import Ask


class PermissionType(enum.IntEnum):
    """What a permission allows; the numbers are etcd's wire values."""

    READ = 0
    WRITE = 1
    READWRITE = 2


@dataclass(frozen=True, slots=True)
class Permission:
    """What a role may do with a key or a range of keys."""

    type: PermissionType
    key: bytes
    range_end: bytes = b""
    """Empty: the single key; ``b"\\0"``: everything from ``key`` on."""


@dataclass(frozen=True, slots=True)
class Role:
    """A role with its permissions."""

    name: str
    permissions: tuple[Permission, ...]


@dataclass(frozen=True, slots=True)
class User:
    """A user with the names of its roles. (etcd tells no passwords.)"""

    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuthStatus:
    """Whether the cluster asks for users."""

    enabled: bool
    revision: int
    """Raised by every change of users, roles and permissions; 0 where the server does not tell (etcd 3.4)."""


class Auth:
    """Users, roles and permissions of the cluster. They are in force while authentication is enabled.

    Keys are absolute. ``kv.prefix`` with ``prefix=True`` names exactly the keys of the client ``kv``.

    ``NotFound`` is raised for a user, role, grant or permission that does not exist, ``AlreadyExists`` for a user or
    role that does, ``InvalidRequest`` for an empty name or password.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    @acts
    async def _enable(self, *, timeout: float | None = None) -> None:
        """Ask for users from now on. Raises ``FailedPrecondition`` unless the user ``root`` has the role ``root``.

        Clients without user and password are refused at once. No error if it is enabled already.
        """
        await self._ask("AuthEnable", {}, timeout, repeat=False)

    enable, aenable = twins(_enable)

    @acts
    async def _disable(self, *, timeout: float | None = None) -> None:
        """Let everybody do everything again. No error if authentication is not enabled."""
        await self._ask("AuthDisable", {}, timeout, repeat=False)

    disable, adisable = twins(_disable)

    async def _status(self, *, timeout: float | None = None) -> AuthStatus:
        """Tell whether authentication is enabled."""
        try:
            answer = await self._ask("AuthStatus", {}, timeout, repeat=True)
        except NotSupported:
            return AuthStatus(await self._asks_for_users(timeout), 0)
        return AuthStatus(answer.enabled, answer.authRevision)

    status, astatus = twins(_status)

    async def _asks_for_users(self, timeout: float | None) -> bool:
        """Find out from the way in which a log-in without a name is refused, which etcd 3.4 does as well."""
        try:
            await self._ask("Authenticate", {}, timeout, repeat=True)
        except FailedPrecondition:
            return False
        except Unauthenticated:
            return True
        return True

    # users -----------------------------------------------------------------------------------------------------------

    async def _user_add(self, name: str, *, password: str | None, timeout: float | None = None) -> None:
        """Make a user. ``password`` ``None``: it can log in with a client certificate of that common name only."""
        secret = {"options": {"no_password": True}} if password is None else {"password": _password(password)}
        await self._ask("UserAdd", {"name": _name("name", name), **secret}, timeout, repeat=False)

    user_add, auser_add = twins(_user_add)

    async def _user_get(self, name: str, *, timeout: float | None = None) -> User:
        """Return a user with its roles."""
        answer = await self._ask("UserGet", {"name": _name("name", name)}, timeout, repeat=True)
        return User(name, tuple(answer.roles))

    user_get, auser_get = twins(_user_get)

    async def _user_list(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Return the names of all users."""
        return tuple((await self._ask("UserList", {}, timeout, repeat=True)).users)

    user_list, auser_list = twins(_user_list)

    async def _user_delete(self, name: str, *, timeout: float | None = None) -> None:
        """Delete a user; its tokens are invalid at once."""
        await self._ask("UserDelete", {"name": _name("name", name)}, timeout, repeat=False)

    user_delete, auser_delete = twins(_user_delete)

    async def _user_change_password(self, name: str, *, password: str, timeout: float | None = None) -> None:
        """Give a user another password; its tokens are invalid at once."""
        fields = {"name": _name("name", name), "password": _password(password)}
        await self._ask("UserChangePassword", fields, timeout, repeat=False)

    user_change_password, auser_change_password = twins(_user_change_password)

    async def _user_grant_role(self, user: str, role: str, *, timeout: float | None = None) -> None:
        """Give a role to a user. No error if it has it."""
        fields = {"user": _name("user", user), "role": _name("role", role)}
        await self._ask("UserGrantRole", fields, timeout, repeat=False)

    user_grant_role, auser_grant_role = twins(_user_grant_role)

    async def _user_revoke_role(self, user: str, role: str, *, timeout: float | None = None) -> None:
        """Take a role from a user."""
        fields = {"name": _name("user", user), "role": _name("role", role)}
        await self._ask("UserRevokeRole", fields, timeout, repeat=False)

    user_revoke_role, auser_revoke_role = twins(_user_revoke_role)

    # roles -----------------------------------------------------------------------------------------------------------

    async def _role_add(self, name: str, *, timeout: float | None = None) -> None:
        """Make a role, without permissions. The role ``root`` may do everything, administration included."""
        await self._ask("RoleAdd", {"name": _name("name", name)}, timeout, repeat=False)

    role_add, arole_add = twins(_role_add)

    async def _role_get(self, name: str, *, timeout: float | None = None) -> Role:
        """Return a role with its permissions."""
        answer = await self._ask("RoleGet", {"role": _name("name", name)}, timeout, repeat=True)
        permissions = [Permission(PermissionType(each.permType), each.key, each.range_end) for each in answer.perm]
        return Role(name, tuple(permissions))

    role_get, arole_get = twins(_role_get)

    async def _role_list(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Return the names of all roles."""
        return tuple((await self._ask("RoleList", {}, timeout, repeat=True)).roles)

    role_list, arole_list = twins(_role_list)

    async def _role_delete(self, name: str, *, timeout: float | None = None) -> None:
        """Delete a role, and take it from all users."""
        await self._ask("RoleDelete", {"role": _name("name", name)}, timeout, repeat=False)

    role_delete, arole_delete = twins(_role_delete)

    async def _role_grant_permission(
        self,
        role: str,
        key: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        permission: PermissionType,
        timeout: float | None = None,
    ) -> None:
        """Permit something with one key, the keys from ``key`` up to ``range_end``, or all with the prefix ``key``.

        A permission for the same key and range end is replaced.
        """
        check_choice("permission", permission, PermissionType)
        start, end = _span(key, range_end, prefix=prefix)
        fields = {"name": _name("role", role), "perm": {"permType": permission, "key": start, "range_end": end}}
        await self._ask("RoleGrantPermission", fields, timeout, repeat=False)

    role_grant_permission, arole_grant_permission = twins(_role_grant_permission)

    async def _role_revoke_permission(
        self, role: str, key: Text, range_end: Text | None = None, *, prefix: bool = False, timeout: float | None = None
    ) -> None:
        """Take a permission back; the keys are named as they were when it was granted."""
        start, end = _span(key, range_end, prefix=prefix)
        fields = {"role": _name("role", role), "key": start, "range_end": end}
        await self._ask("RoleRevokePermission", fields, timeout, repeat=False)

    role_revoke_permission, arole_revoke_permission = twins(_role_revoke_permission)


def _span(key: Text, range_end: Text | None, *, prefix: bool) -> tuple[bytes, bytes]:
    start, end = span(key, range_end, prefix=prefix)
    return start or b"\0", end  # the server takes an empty key for a mistake; no key is before b"\0"


def _name(argument: str, value: object) -> str:
    return check_text(argument, value)


def _password(value: object) -> str:
    try:
        return check_text("password", value)
    except InvalidRequest:
        raise InvalidRequest("password must be a text that is not empty") from None  # which the other one quotes

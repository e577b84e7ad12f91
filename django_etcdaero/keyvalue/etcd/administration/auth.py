"""Users, roles and permissions of an etcd cluster.

Names and passwords are examined before they become part of a message: protobuf's own complaint about a text that cannot
be encoded quotes it, and the server's about an empty user name is the one it gives for a missing token.
"""

from __future__ import annotations

from typing import Any

from django_etcdaero.exceptions import FailedPrecondition, InvalidRequest, NotSupported, Unauthenticated
from django_etcdaero.keyvalue.administration import Auth, AuthStatus, Permission, PermissionType, Role, User
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.keyvalue.keys import Text, span
from django_etcdaero.system.twins import twins

from .member_calls import Ask

_PERMISSION_TYPES = frozenset(PermissionType)


class EtcdAuth(Auth):
    """The service ``Auth``. Whatever member is asked, the cluster agrees on the answer."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def _enable(self, *, timeout: float | None = None) -> None:
        await self._ask("AuthEnable", rpc.AuthEnableRequest(), timeout, repeat=False)

    enable, aenable = twins(_enable)

    async def _disable(self, *, timeout: float | None = None) -> None:
        await self._ask("AuthDisable", rpc.AuthDisableRequest(), timeout, repeat=False)

    disable, adisable = twins(_disable)

    async def _status(self, *, timeout: float | None = None) -> AuthStatus:
        try:
            answer = await self._ask("AuthStatus", rpc.AuthStatusRequest(), timeout, repeat=True)
        except NotSupported:
            return AuthStatus(await self._asks_for_users(timeout), 0)
        return AuthStatus(answer.enabled, answer.authRevision)

    status, astatus = twins(_status)

    async def _asks_for_users(self, timeout: float | None) -> bool:
        """Find out from the way in which a log-in without a name is refused, which etcd 3.4 does as well."""
        try:
            await self._ask("Authenticate", rpc.AuthenticateRequest(), timeout, repeat=True)
        except FailedPrecondition:
            return False
        except Unauthenticated:
            return True
        return True

    # users -----------------------------------------------------------------------------------------------------------

    async def _user_add(self, name: str, *, password: str | None, timeout: float | None = None) -> None:
        message = rpc.AuthUserAddRequest(name=_name("name", name))
        if password is None:
            message.options.no_password = True
        else:
            message.password = _password(password)
        await self._ask("UserAdd", message, timeout, repeat=False)

    user_add, auser_add = twins(_user_add)

    async def _user_get(self, name: str, *, timeout: float | None = None) -> User:
        answer = await self._ask("UserGet", rpc.AuthUserGetRequest(name=_name("name", name)), timeout, repeat=True)
        return User(name, tuple(answer.roles))

    user_get, auser_get = twins(_user_get)

    async def _user_list(self, *, timeout: float | None = None) -> tuple[str, ...]:
        return tuple((await self._ask("UserList", rpc.AuthUserListRequest(), timeout, repeat=True)).users)

    user_list, auser_list = twins(_user_list)

    async def _user_delete(self, name: str, *, timeout: float | None = None) -> None:
        await self._ask("UserDelete", rpc.AuthUserDeleteRequest(name=_name("name", name)), timeout, repeat=False)

    user_delete, auser_delete = twins(_user_delete)

    async def _user_change_password(self, name: str, *, password: str, timeout: float | None = None) -> None:
        message = rpc.AuthUserChangePasswordRequest(name=_name("name", name), password=_password(password))
        await self._ask("UserChangePassword", message, timeout, repeat=False)

    user_change_password, auser_change_password = twins(_user_change_password)

    async def _user_grant_role(self, user: str, role: str, *, timeout: float | None = None) -> None:
        message = rpc.AuthUserGrantRoleRequest(user=_name("user", user), role=_name("role", role))
        await self._ask("UserGrantRole", message, timeout, repeat=False)

    user_grant_role, auser_grant_role = twins(_user_grant_role)

    async def _user_revoke_role(self, user: str, role: str, *, timeout: float | None = None) -> None:
        message = rpc.AuthUserRevokeRoleRequest(name=_name("user", user), role=_name("role", role))
        await self._ask("UserRevokeRole", message, timeout, repeat=False)

    user_revoke_role, auser_revoke_role = twins(_user_revoke_role)

    # roles -----------------------------------------------------------------------------------------------------------

    async def _role_add(self, name: str, *, timeout: float | None = None) -> None:
        await self._ask("RoleAdd", rpc.AuthRoleAddRequest(name=_name("name", name)), timeout, repeat=False)

    role_add, arole_add = twins(_role_add)

    async def _role_get(self, name: str, *, timeout: float | None = None) -> Role:
        answer = await self._ask("RoleGet", rpc.AuthRoleGetRequest(role=_name("name", name)), timeout, repeat=True)
        return Role(name, tuple(_permission(found) for found in answer.perm))

    role_get, arole_get = twins(_role_get)

    async def _role_list(self, *, timeout: float | None = None) -> tuple[str, ...]:
        return tuple((await self._ask("RoleList", rpc.AuthRoleListRequest(), timeout, repeat=True)).roles)

    role_list, arole_list = twins(_role_list)

    async def _role_delete(self, name: str, *, timeout: float | None = None) -> None:
        await self._ask("RoleDelete", rpc.AuthRoleDeleteRequest(role=_name("name", name)), timeout, repeat=False)

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
        if permission not in _PERMISSION_TYPES:
            raise InvalidRequest(f"permission has no meaning {permission!r}")
        start, end = _span(key, range_end, prefix=prefix)
        message = rpc.AuthRoleGrantPermissionRequest(
            name=_name("role", role), perm=rpc.Permission(permType=permission, key=start, range_end=end)
        )
        await self._ask("RoleGrantPermission", message, timeout, repeat=False)

    role_grant_permission, arole_grant_permission = twins(_role_grant_permission)

    async def _role_revoke_permission(
        self,
        role: str,
        key: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        timeout: float | None = None,
    ) -> None:
        start, end = _span(key, range_end, prefix=prefix)
        message = rpc.AuthRoleRevokePermissionRequest(role=_name("role", role), key=start, range_end=end)
        await self._ask("RoleRevokePermission", message, timeout, repeat=False)

    role_revoke_permission, arole_revoke_permission = twins(_role_revoke_permission)


def _permission(message: Any) -> Permission:
    return Permission(PermissionType(message.permType), message.key, message.range_end)


def _span(key: Text, range_end: Text | None, *, prefix: bool) -> tuple[bytes, bytes]:
    start, end = span(key, range_end, prefix=prefix)
    return start or b"\0", end  # the server takes an empty key for a mistake; no key is before b"\0"


def _name(argument: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{argument} must be str, not {type(value).__name__}")
    if not value or not _encodable(value):
        raise InvalidRequest(f"{argument} must be a text that is not empty, not {value!r}")
    return value


def _password(value: object) -> str:
    if not isinstance(value, str) or not value or not _encodable(value):
        raise InvalidRequest("password must be a text that is not empty")
    return value


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

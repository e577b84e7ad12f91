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

from .direct import Call

_PERMISSION_TYPES = frozenset(PermissionType)


class EtcdAuth(Auth):
    """The service ``Auth``. Whatever member is asked, the cluster agrees on the answer."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def enable(self, *, timeout: float | None = None) -> None:
        self._call("AuthEnable", rpc.AuthEnableRequest(), timeout, repeat=False)

    def disable(self, *, timeout: float | None = None) -> None:
        self._call("AuthDisable", rpc.AuthDisableRequest(), timeout, repeat=False)

    def status(self, *, timeout: float | None = None) -> AuthStatus:
        try:
            answer = self._call("AuthStatus", rpc.AuthStatusRequest(), timeout, repeat=True)
        except NotSupported:
            return AuthStatus(self._asks_for_users(timeout), 0)
        return AuthStatus(answer.enabled, answer.authRevision)

    def _asks_for_users(self, timeout: float | None) -> bool:
        """Find out from the way in which a log-in without a name is refused, which etcd 3.4 does as well."""
        try:
            self._call("Authenticate", rpc.AuthenticateRequest(), timeout, repeat=True)
        except FailedPrecondition:
            return False
        except Unauthenticated:
            return True
        return True

    # users -----------------------------------------------------------------------------------------------------------

    def user_add(self, name: str, *, password: str | None, timeout: float | None = None) -> None:
        message = rpc.AuthUserAddRequest(name=_name("name", name))
        if password is None:
            message.options.no_password = True
        else:
            message.password = _password(password)
        self._call("UserAdd", message, timeout, repeat=False)

    def user_get(self, name: str, *, timeout: float | None = None) -> User:
        answer = self._call("UserGet", rpc.AuthUserGetRequest(name=_name("name", name)), timeout, repeat=True)
        return User(name, tuple(answer.roles))

    def user_list(self, *, timeout: float | None = None) -> tuple[str, ...]:
        return tuple(self._call("UserList", rpc.AuthUserListRequest(), timeout, repeat=True).users)

    def user_delete(self, name: str, *, timeout: float | None = None) -> None:
        self._call("UserDelete", rpc.AuthUserDeleteRequest(name=_name("name", name)), timeout, repeat=False)

    def user_change_password(self, name: str, *, password: str, timeout: float | None = None) -> None:
        message = rpc.AuthUserChangePasswordRequest(name=_name("name", name), password=_password(password))
        self._call("UserChangePassword", message, timeout, repeat=False)

    def user_grant_role(self, user: str, role: str, *, timeout: float | None = None) -> None:
        message = rpc.AuthUserGrantRoleRequest(user=_name("user", user), role=_name("role", role))
        self._call("UserGrantRole", message, timeout, repeat=False)

    def user_revoke_role(self, user: str, role: str, *, timeout: float | None = None) -> None:
        message = rpc.AuthUserRevokeRoleRequest(name=_name("user", user), role=_name("role", role))
        self._call("UserRevokeRole", message, timeout, repeat=False)

    # roles -----------------------------------------------------------------------------------------------------------

    def role_add(self, name: str, *, timeout: float | None = None) -> None:
        self._call("RoleAdd", rpc.AuthRoleAddRequest(name=_name("name", name)), timeout, repeat=False)

    def role_get(self, name: str, *, timeout: float | None = None) -> Role:
        answer = self._call("RoleGet", rpc.AuthRoleGetRequest(role=_name("name", name)), timeout, repeat=True)
        return Role(name, tuple(_permission(found) for found in answer.perm))

    def role_list(self, *, timeout: float | None = None) -> tuple[str, ...]:
        return tuple(self._call("RoleList", rpc.AuthRoleListRequest(), timeout, repeat=True).roles)

    def role_delete(self, name: str, *, timeout: float | None = None) -> None:
        self._call("RoleDelete", rpc.AuthRoleDeleteRequest(role=_name("name", name)), timeout, repeat=False)

    def role_grant_permission(
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
        self._call("RoleGrantPermission", message, timeout, repeat=False)

    def role_revoke_permission(
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
        self._call("RoleRevokePermission", message, timeout, repeat=False)


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

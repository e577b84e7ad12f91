"""Users, roles and permissions: the values, and what an engine offers."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass

from django_etcdaero.keyvalue.keys import Text


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


class Auth(ABC):
    """Users, roles and permissions of the cluster. They are in force while authentication is enabled.

    Keys are absolute. ``kv.prefix`` with ``prefix=True`` names exactly the keys of the client ``kv``.

    ``NotFound`` is raised for a user, role, grant or permission that does not exist, ``AlreadyExists`` for a user or
    role that does, ``InvalidRequest`` for an empty name or password.
    """

    @abstractmethod
    def enable(self, *, timeout: float | None = None) -> None:
        """Ask for users from now on. Raises ``FailedPrecondition`` unless the user ``root`` has the role ``root``.

        Clients without user and password are refused at once. No error if it is enabled already.
        """

    @abstractmethod
    async def aenable(self, *, timeout: float | None = None) -> None:
        """Do what :meth:`enable` does, for event loops."""

    @abstractmethod
    def disable(self, *, timeout: float | None = None) -> None:
        """Let everybody do everything again. No error if authentication is not enabled."""

    @abstractmethod
    async def adisable(self, *, timeout: float | None = None) -> None:
        """Do what :meth:`disable` does, for event loops."""

    @abstractmethod
    def status(self, *, timeout: float | None = None) -> AuthStatus:
        """Tell whether authentication is enabled."""

    @abstractmethod
    async def astatus(self, *, timeout: float | None = None) -> AuthStatus:
        """Do what :meth:`status` does, for event loops."""

    @abstractmethod
    def user_add(self, name: str, *, password: str | None, timeout: float | None = None) -> None:
        """Make a user. ``password`` ``None``: it can log in with a client certificate of that common name only."""

    @abstractmethod
    async def auser_add(self, name: str, *, password: str | None, timeout: float | None = None) -> None:
        """Do what :meth:`user_add` does, for event loops."""

    @abstractmethod
    def user_get(self, name: str, *, timeout: float | None = None) -> User:
        """Return a user with its roles."""

    @abstractmethod
    async def auser_get(self, name: str, *, timeout: float | None = None) -> User:
        """Do what :meth:`user_get` does, for event loops."""

    @abstractmethod
    def user_list(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Return the names of all users."""

    @abstractmethod
    async def auser_list(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Do what :meth:`user_list` does, for event loops."""

    @abstractmethod
    def user_delete(self, name: str, *, timeout: float | None = None) -> None:
        """Delete a user; its tokens are invalid at once."""

    @abstractmethod
    async def auser_delete(self, name: str, *, timeout: float | None = None) -> None:
        """Do what :meth:`user_delete` does, for event loops."""

    @abstractmethod
    def user_change_password(self, name: str, *, password: str, timeout: float | None = None) -> None:
        """Give a user another password; its tokens are invalid at once."""

    @abstractmethod
    async def auser_change_password(self, name: str, *, password: str, timeout: float | None = None) -> None:
        """Do what :meth:`user_change_password` does, for event loops."""

    @abstractmethod
    def user_grant_role(self, user: str, role: str, *, timeout: float | None = None) -> None:
        """Give a role to a user. No error if it has it."""

    @abstractmethod
    async def auser_grant_role(self, user: str, role: str, *, timeout: float | None = None) -> None:
        """Do what :meth:`user_grant_role` does, for event loops."""

    @abstractmethod
    def user_revoke_role(self, user: str, role: str, *, timeout: float | None = None) -> None:
        """Take a role from a user."""

    @abstractmethod
    async def auser_revoke_role(self, user: str, role: str, *, timeout: float | None = None) -> None:
        """Do what :meth:`user_revoke_role` does, for event loops."""

    @abstractmethod
    def role_add(self, name: str, *, timeout: float | None = None) -> None:
        """Make a role, without permissions. The role ``root`` may do everything, administration included."""

    @abstractmethod
    async def arole_add(self, name: str, *, timeout: float | None = None) -> None:
        """Do what :meth:`role_add` does, for event loops."""

    @abstractmethod
    def role_get(self, name: str, *, timeout: float | None = None) -> Role:
        """Return a role with its permissions."""

    @abstractmethod
    async def arole_get(self, name: str, *, timeout: float | None = None) -> Role:
        """Do what :meth:`role_get` does, for event loops."""

    @abstractmethod
    def role_list(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Return the names of all roles."""

    @abstractmethod
    async def arole_list(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Do what :meth:`role_list` does, for event loops."""

    @abstractmethod
    def role_delete(self, name: str, *, timeout: float | None = None) -> None:
        """Delete a role, and take it from all users."""

    @abstractmethod
    async def arole_delete(self, name: str, *, timeout: float | None = None) -> None:
        """Do what :meth:`role_delete` does, for event loops."""

    @abstractmethod
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
        """Permit something with one key, the keys from ``key`` up to ``range_end``, or all with the prefix ``key``.

        A permission for the same key and range end is replaced.
        """

    @abstractmethod
    async def arole_grant_permission(
        self,
        role: str,
        key: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        permission: PermissionType,
        timeout: float | None = None,
    ) -> None:
        """Do what :meth:`role_grant_permission` does, for event loops."""

    @abstractmethod
    def role_revoke_permission(
        self,
        role: str,
        key: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Take a permission back; the keys are named as they were when it was granted."""

    @abstractmethod
    async def arole_revoke_permission(
        self,
        role: str,
        key: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Do what :meth:`role_revoke_permission` does, for event loops."""

"""One kind of URL for one plane: how it is written, read and opened. Each stands beside its backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import SplitResult

from .address import Address

A = TypeVar("A", bound=Address)
Opened_co = TypeVar("Opened_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme(Generic[A, Opened_co]):
    """A scheme; ``Opened_co`` is an engine or a record store."""

    names: tuple[str, ...]
    """What stands before the colon, in lower case; all of them mean the same."""
    forms: str
    """How to write it, for error messages."""
    address: type[A]
    """What its URLs are read into."""
    parse: Callable[[SplitResult, Path | None], A]
    """Makes an address of a split URL and the directory that relative paths start from (``None``: there is none).

    Raises ``ConfigurationError`` with a message that says what is wrong and does not quote the URL.
    """
    open: Callable[[A, float], Opened_co]
    """Opens an address with the default time in seconds that a call may take. Imports the client."""
    imports: tuple[str, ...] = ()
    """The modules that opening an address and the first call import, if that takes long. They can be imported ahead."""
    open_beside: Callable[[A, Address, Any], Opened_co | None] | None = None
    """Opens an address over what is open already: the address of a key-value engine, and that engine.

    ``None`` is returned when they are not of the same servers.
    """

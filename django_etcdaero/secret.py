"""Text that is not shown: for passwords in settings, and URLs with one."""

from __future__ import annotations

from .stores.url import mask


class Secret(str):
    """A ``str`` whose ``repr`` hides it: of a URL user and password, all of any other text.

    Django's debug pages and error mails, ``diffsettings``, logs of whole dictionaries and debuggers show the ``repr``.
    Everything else is that of the text: ``str()`` and what is joined or formatted with it is no secret any more.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(mask(str(self))) if "://" in self else "'***'"

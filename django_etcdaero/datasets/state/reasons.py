"""Whether a failure goes on for the reason that has been told already.

A store that does not answer words each failure in another way: it names its servers in the order in which they were
asked, and what each connection met. So all failures of that kind are one reason; of others the text tells.
"""

from __future__ import annotations

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, OutcomeUnknown, StoreBusy

_NO_ANSWER = frozenset(each.__name__ for each in (ClusterError, DeadlineExceeded, OutcomeUnknown, StoreBusy))


def text_of(error: BaseException) -> str:
    """Return the error's type and message, as status and results show it."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def same_reason(text: str | None, told: str | None) -> bool:
    """Tell whether two texts of :func:`text_of` name one reason; ``None`` is no failure."""
    return _reason(text) == _reason(told)


def _reason(text: str | None) -> str | None:
    return "no answer" if text is not None and text.partition(":")[0] in _NO_ANSWER else text

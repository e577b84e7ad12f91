"""Reading and writing one key in one step.

Both recipes write only if the key is as they saw it, so that no change is lost. A write whose outcome is unknown raises
``OutcomeUnknown`` and is not repeated: repeated, an increment might count twice. A key keeps the lease it has.
"""

from __future__ import annotations

import re

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.steps import Commit, Read
from django_etcdaero.keyvalue.keys import Text, span, to_bytes
from django_etcdaero.keyvalue.ops import create_revision, get, mod_revision, put
from django_etcdaero.keyvalue.ops import found as found_in
from django_etcdaero.keyvalue.ops import value as value_of
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.system.steps import Pause

from .contention import Contention

_DECIMAL = re.compile(rb"[+-]?[0-9]+")


async def increment(
    client: Client, key: Text, delta: int = 1, *, initial: int = 0, timeout: float | None = None
) -> int:
    """Add ``delta`` (of any size, negative too) to the decimal number that is the key's value; return the sum.

    A missing key counts as ``initial`` and is created. Takes two calls, one more for each conflict with others. Raises
    ``InvalidRequest`` if the value is no decimal number (nothing is written then), ``TxnFailed`` after 100 conflicts,
    ``DeadlineExceeded`` after ``timeout`` seconds altogether (``None``: the engine's default for each call), and what a
    transaction raises.
    """
    name, _ = span(key, None, prefix=False)
    _check_int("delta", delta)
    _check_int("initial", initial)
    contention = Contention(f"the increment of {name!r}", timeout=timeout)
    fresh = False
    found: KeyValue | None = None
    while True:
        if not fresh:
            found = next(iter((await Read(client, get(name), contention.left())).kvs), None)
        total, text = _sum(name, found, delta, initial)
        txn = (
            client.txn()
            .when(mod_revision(name) == (found.mod_revision if found else 0))
            .then(put(name, text, ignore_lease=found is not None))
            .otherwise(get(name))
        )
        result = await Commit(txn, contention.left())
        if result.succeeded:
            return total
        found = next(iter(found_in(result.responses[0])), None)
        pause = contention.fail()
        await Pause(pause)
        fresh = contention.still_fresh(pause)


async def test_and_set(
    client: Client,
    key: Text,
    expected: Text | None,
    value: Text,
    *,
    timeout: float | None = None,  # noqa: PT028
) -> bool:
    """Write ``value`` if the key's value is ``expected``; return whether it was written.

    ``expected`` ``None``: create the key if it does not exist. A key that does not exist has no value, not even an
    empty one. The key keeps its lease. One call; raises what a transaction raises.
    """
    txn = client.txn()
    if expected is None:
        txn.when(create_revision(key) == 0).then(put(key, value))
    else:
        txn.when(value_of(key) == to_bytes(expected, name="expected")).then(put(key, value, ignore_lease=True))
    result = await Commit(txn, timeout)
    return result.succeeded


def _check_int(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"{name} must be an int, not {value!r}")


def _sum(name: bytes, found: KeyValue | None, delta: int, initial: int) -> tuple[int, bytes]:
    if found is not None and not _DECIMAL.fullmatch(found.value):
        raise InvalidRequest(f"the value of {name!r} is not a decimal integer: {found.value[:40]!r}")
    try:
        total = (initial if found is None else int(found.value)) + delta
        return total, b"%d" % total
    except ValueError as error:  # Python converts no more than sys.get_int_max_str_digits() digits
        raise InvalidRequest(f"the value of {name!r} has too many digits: {error}") from error

"""The native client, and how each command is put to it. Importing this module imports ``aerospike``.

What is avoided here: keys are ``bytearray`` (a ``str`` key is cut at its first NUL) and are stored with the record, or
a scan could not tell them; every write says its time to live (the client's default would be the namespace's); writes
are never repeated by the client; unknown names in a policy are ignored by it without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import aerospike
from aerospike.exception import AerospikeError, ServerFull
from aerospike_helpers import expressions
from aerospike_helpers.batch.records import BatchRecords, Write
from aerospike_helpers.operations import operations

from django_etcdaero.records.arguments import MAX_INT, MIN_INT
from django_etcdaero.records.store import Meta, Record, Value
from django_etcdaero.stores.aerospike import AerospikeAddress
from django_etcdaero.system.uninterrupted import uninterrupted

from . import errors
from .errors import NativeError
from .node_answers import properties
from .rows import present, sort_rows

T = TypeVar("T")

BIN = "v"
"""The one bin that every record has."""

PARTITIONS = 4096
_NEVER = aerospike.TTL_NEVER_EXPIRE
_BATCH_INVALID = 4
"""What a batch fails with at a node that does not have its namespace; also what a server does not understand."""
_TRUNCATED = re.compile(r"truncate_lut=(\d+)")


class Page(NamedTuple):
    """A step of a scan."""

    found: list[tuple[bytes, Meta]]
    position: Any
    """Where the next step goes on; ``None``: this was the last one."""


class Batch(NamedTuple, Generic[T]):
    """What came of a batch of which each row was answered or refused."""

    found: dict[bytes, T]
    """By key, where the server had the record."""
    refused: dict[bytes, int]
    """The keys for which nothing was done, with a result in :data:`.errors.REFUSED`."""


class NativeClient:
    """A connected client. ``ms`` is the time in milliseconds that a command may take; threads may share it."""

    raised = (AerospikeError, NativeError)
    """What the methods raise; each has ``code``, ``msg`` and ``in_doubt``."""

    def __init__(self, address: AerospikeAddress, config: dict[str, Any]) -> None:
        self._namespace, self._set = address.namespace, address.set_name
        self.native: Any = aerospike.client(config)

    def connected(self) -> bool:
        return bool(self.native.is_connected())

    def close(self) -> None:
        self.native.close()

    # one record ------------------------------------------------------------------------------------------------------

    def get(self, key: bytes, ms: int) -> Record:
        return _record(self.native.get(self._key(key), _reading(ms)))

    def exists(self, key: bytes, ms: int) -> Meta | None:
        _, meta = self.native.exists(self._key(key), _reading(ms))
        return None if meta is None else _meta(meta)

    def put(
        self, key: bytes, value: Value, ms: int, *, ttl: int | None, create_only: bool, generation: int | None
    ) -> None:
        meta, policy = _writing(ms, ttl, generation)
        if create_only:
            policy["exists"] = aerospike.POLICY_EXISTS_CREATE
        self.native.put(self._key(key), {BIN: value}, meta, policy)

    def touch(self, key: bytes, ms: int, *, ttl: int | None, generation: int | None) -> None:
        # Not client.touch, which ignores the time to live of its policy.
        meta, policy = _writing(ms, ttl, generation)
        self.native.operate(self._key(key), [operations.touch()], meta, policy)

    def delete(self, key: bytes, ms: int, *, generation: int | None) -> None:
        # Not client.remove, which finds a record that has expired and has not been cleared away yet. Only that works
        # when the namespace takes no more writes.
        meta, policy = _writing(ms, None, generation)
        try:
            self.native.operate(
                self._key(key), [operations.delete()], meta, {**policy, "exists": aerospike.POLICY_EXISTS_UPDATE}
            )
        except ServerFull:
            self.native.remove(self._key(key), policy={**policy, "generation": generation or 0})

    def increment(self, key: bytes, delta: int, ms: int) -> int:
        """Fails with ``FILTERED_OUT`` unless the record holds an integer to which ``delta`` can be added."""
        _, policy = _writing(ms, None, None)
        current = expressions.IntBin(BIN)
        fits = expressions.LE(current, MAX_INT - delta) if delta >= 0 else expressions.GE(current, MIN_INT - delta)
        policy |= {
            "ttl": aerospike.TTL_DONT_UPDATE,
            "exists": aerospike.POLICY_EXISTS_UPDATE,
            "expressions": fits.compile(),
        }
        steps = [operations.increment(BIN, delta), operations.read(BIN)]
        _, _, bins = self.native.operate(self._key(key), steps, {}, policy)
        total: int = bins[BIN]
        return total

    # many records ----------------------------------------------------------------------------------------------------

    def get_many(self, keys: Sequence[bytes], ms: int) -> Batch[Record]:
        answered, refused = self._rows(self._batch("batch_read", self._keys(keys), None, _reading(ms)), keys, ms)
        return Batch({key: _record(row.record) for key, row in present(answered)}, refused)

    def exists_many(self, keys: Sequence[bytes], ms: int) -> Batch[Meta]:
        answered, refused = self._rows(self._batch("batch_read", self._keys(keys), [], _reading(ms)), keys, ms)
        return Batch({key: _meta(row.record[1]) for key, row in present(answered)}, refused)

    def put_many(self, items: Mapping[bytes, Value], ms: int, *, ttl: int | None) -> Batch[None]:
        policy = {"key": aerospike.POLICY_KEY_SEND, "ttl": _ttl(ttl)}
        writes = [Write(self._key(key), [operations.write(BIN, value)], None, policy) for key, value in items.items()]
        answered, refused = self._rows(self._write(writes, ms), list(items), ms, expected=(errors.OK,), write=True)
        return Batch(dict.fromkeys(answered), refused)

    def touch_many(self, items: Mapping[bytes, int | None], ms: int, *, ttl: int | None) -> Batch[None]:
        writes = []
        for key, generation in items.items():
            meta, policy = _writing(ms, ttl, generation)
            writes.append(Write(self._key(key), [operations.touch()], meta, policy))
        expected = (errors.OK, errors.NOT_FOUND, errors.GENERATION)
        answered, refused = self._rows(self._write(writes, ms), list(items), ms, expected=expected, write=True)
        return Batch({key: None for key, _ in present(answered)}, refused)

    def delete_many(self, keys: Sequence[bytes], ms: int) -> Batch[None]:
        """See :meth:`delete`."""
        only_existing = {"exists": aerospike.POLICY_EXISTS_UPDATE}
        batch = self._batch("batch_operate", self._keys(keys), [operations.delete()], _once(ms), only_existing)
        expected = (errors.OK, errors.NOT_FOUND, errors.FULL)
        answered, refused = self._rows(batch, keys, ms, expected=expected, write=True)
        full = [key for key, row in answered.items() if row.result == errors.FULL]
        if full:
            batch = self._batch("batch_remove", self._keys(full), _once(ms))
            removed, also_refused = self._rows(batch, full, ms, write=True)
            answered, refused = answered | removed, refused | also_refused
        return Batch({key: None for key, _ in present(answered)}, refused)

    # the set ---------------------------------------------------------------------------------------------------------

    def page(self, position: Any, size: int, ms: int) -> Page:
        """Read about ``size`` keys on from ``position`` (``None``: from the start)."""
        query = self.native.query(self._namespace, self._set)
        query.max_records = size
        query.paginate()
        policy: dict[str, Any] = {"total_timeout": ms, "socket_timeout": max(1, ms // 2)}  # see _reading
        if position is not None:
            policy["partition_filter"] = {"begin": 0, "count": PARTITIONS, "partition_status": position}
        found = []
        for (_, _, key, _), meta, _ in query.results(policy, {"nobins": True}):
            if isinstance(key, bytearray):  # else this store has not written it
                found.append((bytes(key), _meta(meta)))
        return Page(found, None if query.is_done() else query.get_partitions_status())

    def truncate(self, ms: int) -> None:
        # Not client.truncate, which holds the interpreter's lock until the server answers.
        command = f"truncate:namespace={self._namespace};set={self._set}"
        try:
            self.native.info_random_node(command, {"timeout": ms})
        except AerospikeError as error:
            raise NativeError(error.code or 0, str(error.msg), in_doubt=error.code in errors.CUT_SHORT) from error

    def truncations(self, ms: int) -> list[int]:
        """Return the last truncation that each node with records of the set knows of; 0: none."""
        answers = self.native.info_all(f"sets/{self._namespace}/{self._set}", {"timeout": ms})
        if not answers:
            raise NativeError(errors.CLUSTER_EMPTY, "the cluster is empty", in_doubt=False)
        if any("ns_type=unknown" in text for _, text in answers.values()):
            raise NativeError(errors.NAMESPACE, "no such namespace", in_doubt=False)
        return [int(found[1]) for _, text in answers.values() if (found := _TRUNCATED.search(text))]

    def takes_no_ttl(self, ms: int) -> bool:
        """Tell whether a node refuses every record that is to expire."""
        answers = self.native.info_all(f"namespace/{self._namespace}", {"timeout": ms})
        settings = [properties(text or "") for _, text in answers.values()]
        return any(
            each.get("nsup-period") == "0" and each.get("allow-ttl-without-nsup") == "false" for each in settings
        )

    def ask_nodes(self, command: str, ms: int) -> dict[str, str]:
        """Return what each node answers to a text command, by the node's name; of one that did not answer nothing."""
        answers = self.native.info_all(command, {"timeout": ms})
        if not answers:
            raise NativeError(errors.CLUSTER_EMPTY, "the cluster is empty", in_doubt=False)
        told = {
            str(node): text.removeprefix(f"{command}\t").removesuffix("\n")
            for node, (_, text) in answers.items()
            if text is not None
        }
        if not told:
            raise NativeError(errors.CLUSTER_EMPTY, "no node answers text commands", in_doubt=False)
        return told

    def _key(self, key: bytes) -> tuple[str, str, bytearray]:
        return self._namespace, self._set, bytearray(key)

    def _keys(self, keys: Sequence[bytes]) -> list[tuple[str, str, bytearray]]:
        return [self._key(key) for key in keys]

    def _write(self, writes: list[Write], ms: int) -> BatchRecords:
        return self._batch("batch_write", BatchRecords(writes), _once(ms))

    def _batch(self, command: str, *arguments: Any) -> Any:
        """Run a command that makes objects of Python, which signals must not interrupt."""
        return uninterrupted(lambda: getattr(self.native, command)(*arguments))

    def _rows(
        self,
        batch: BatchRecords,
        keys: Sequence[bytes],
        ms: int,
        *,
        expected: tuple[int, ...] = (errors.OK, errors.NOT_FOUND),
        write: bool = False,
    ) -> tuple[dict[bytes, Any], dict[bytes, int]]:
        """See :func:`.rows.sort_rows`. A namespace that is missing is told from a request that is not understood."""
        try:
            return sort_rows(batch, keys, expected=expected, write=write)
        except NativeError as error:
            if error.code != _BATCH_INVALID or error.in_doubt or not self._lacks_namespace(ms):
                raise
            raise NativeError(errors.NAMESPACE, "no such namespace", in_doubt=False) from error

    def _lacks_namespace(self, ms: int) -> bool:
        """Tell whether all nodes say that they do not have the namespace."""
        try:
            answers = self.native.info_all(f"namespace/{self._namespace}", {"timeout": ms})
        except AerospikeError:
            return False
        return bool(answers) and all("type=unknown" in (text or "") for _, text in answers.values())


def _reading(ms: int) -> dict[str, Any]:
    # Half the time for one attempt, so that another node with a copy is tried when the first one is silent.
    # All copies, where a node that was away has come back with what it knew and has not been told the rest yet: of one
    # copy each it would give what was overwritten or deleted meanwhile. At other times a record has no such copies.
    return {
        "total_timeout": ms,
        "socket_timeout": max(1, ms // 2),
        "max_retries": 2,
        "read_mode_ap": aerospike.POLICY_READ_MODE_AP_ALL,
    }


def _once(ms: int) -> dict[str, Any]:
    return {"total_timeout": ms, "socket_timeout": ms, "max_retries": 0}


def _writing(ms: int, ttl: int | None, generation: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    policy = {**_once(ms), "key": aerospike.POLICY_KEY_SEND, "ttl": _ttl(ttl)}
    if generation is None:
        return {}, policy
    return {"gen": generation}, {**policy, "gen": aerospike.POLICY_GEN_EQ}


def _ttl(ttl: int | None) -> int:
    return _NEVER if ttl is None else ttl


def _meta(meta: Mapping[str, int]) -> Meta:
    ttl = meta["ttl"]
    return Meta(meta["gen"], None if ttl == _NEVER else ttl)


def _record(answer: tuple[Any, Mapping[str, int], Mapping[str, Any]]) -> Record:
    _, meta, bins = answer
    value: Any = bins.get(BIN)
    kind = type(value)
    if kind is not bytes and kind is not int:
        raise NativeError(errors.NO_VALUE, f"a record without bytes or an integer in its bin {BIN!r}", in_doubt=False)
    ttl = meta["ttl"]
    return Record(value, meta["gen"], None if ttl == _NEVER else ttl)

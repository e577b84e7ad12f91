"""The tables in ``docs/parity.rst`` of what corresponds to other systems tell the truth.

Every name of ours in them can be imported and takes the arguments that are named; every test in them exists; no
capability and no exported function of those systems is left out.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from django_etcdaero.keyvalue import KV
from tests.pages import DOCS, tables
from tests.paths import ROOT

PAGE = DOCS / "parity.rst"
CAPABILITIES = 122

EXPORTED = {
    "hms-hmetcd": """
        Open Kvi Kvi_KV Kvs_etcd Kvs_mem Close Delete DistLock DistTimedLock DistUnlock Get GetRange Store TAS TempKey
        Transaction Watch WatchCBCancel WatchWithCB WatchCBFunc WatchCBHandle KvcLockResult DIST_LOCK_KEY
        KVC_KEYCHANGE_INVAL KVC_KEYCHANGE_PUT KVC_KEYCHANGE_DELETE
        KVC_LOCK_RSLT_INVALID KVC_LOCK_SET_FAIL KVC_LOCK_OCCUPIED KVC_LOCK_GRANTED KVC_LOCK_RELEASE_FAIL
        KVC_LOCK_RELEASED
    """,
    "kvstore": """
        store.New Config NewEtcdStore Create Delete PrefixDelete Update ConsistentUpdate Get List ListFiltered Watch
        PrefixWatch WatchFiltered WatchAggregate Contest Lease NewTxn Close AtomicDelete AtomicUpdate
        Touch AddComparator Commit IsEmpty TxnResponse Compare WithVersion WithValue Cmp
        EventChan ID Leader IsLeader Stop WaitForStop Orphan
        NewKeyExistsError NewKeyNotFoundError NewVersionConflictError NewInvalidTTLError NewTxnFailedError
        IsKeyExistsError IsKeyNotFoundError IsVersionConflictError IsInvalidTTLError IsTxnFailedError ErrorDesc KVError
        Codec NewJSONCodec NewProtoCodec Scheme AddKnownTypes ObjectVersioner ListVersioner ObjectMeta FilterUpdate
        ListWatchOptions LeaseEvent WatchEvent SetErrorState SetMaxTxnOps InjectWatchEvent IsWatchActive CloseWatch
        DeleteClusters
    """,
    "eetcd": """
        open close info new with_timeout get_prefix_range_end put get delete compact txn with_key with_value
        with_prefix with_from_key with_range_end with_limit with_rev with_sort with_serializable with_keys_only
        with_count_only with_min_mod_rev with_max_mod_rev with_min_create_rev with_max_create_rev with_first_create
        with_last_create with_first_rev with_last_rev with_first_key with_last_key with_top with_prev_kv with_lease
        with_ignore_value with_ignore_lease with_physical value version mod_revision create_revision lease
        grant revoke time_to_live leases keep_alive keep_alive_once with_start_revision with_filter_put
        with_filter_delete with_watch_id with_fragment with_progress_notify watch watch_stream unwatch rev
        with_name lock unlock campaign proclaim leader resign campaign_request campaign_response observe
        observe_stream with_leader member_list member_add member_add_as_learner member_remove member_update
        member_promote auth_enable auth_disable user_add user_get user_list user_delete user_change_password
        user_grant_role user_revoke_role role_add role_get role_list role_delete role_grant_permission
        role_revoke_permission alarm_list alarm_disarm alarm_disarm_all defragment status hash_kv move_leader hash
        snapshot sync check_health round_robin_select flush_token get_watch_id lease_keep_alive
    """,
}
"""What each of them exports, without the names of modules."""


@dataclass(frozen=True)
class Row:
    title: str
    """The heading above the table."""
    there: str
    ours: str
    last: str
    number: int | None

    def __str__(self) -> str:
        return f"row {self.number}" if self.number else f"{self.title}: {self.there}"


def rows() -> list[Row]:
    found = []
    for title, table in tables(PAGE):
        assert re.match(r"(Capabilities|Functions) of ", title), title
        numbered = title.startswith("Capabilities")
        for cells in table:
            assert len(cells) == (4 if numbered else 3), cells
            there, ours, last = cells[-3:]
            found.append(Row(title, there, ours, last, int(cells[0]) if numbered else None))
    return found


ROWS = rows()


def test_no_capability_is_left_out() -> None:
    assert [row.number for row in ROWS if row.number] == list(range(1, CAPABILITIES + 1))


@pytest.mark.parametrize("system", EXPORTED)
def test_no_exported_function_is_left_out(system: str) -> None:
    told = [row.there for row in ROWS if row.title == f"Functions of {system}"]
    named = {name for there in told for name in re.findall(r"`([\w.]+)`", there)}
    assert set(EXPORTED[system].split()) - named == set()


# --- ours ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Name:
    dotted: str
    arguments: tuple[str, ...]


def names(row: Row) -> list[Name]:
    """Return what the row says is ours: names with a dot, and ``kvs``."""
    found = re.findall(r"`(kvs|[a-z_]\w*(?:\.\w+)+)(?:\(([\w=, ]*)\))?`", row.ours)
    return [Name(dotted, tuple(re.findall(r"(\w+)=", arguments))) for dotted, arguments in found]


def resolve(dotted: str) -> Any:
    head, _, rest = dotted.partition(".")
    if head == "kv" and hasattr(KV, rest):
        return getattr(KV, rest)
    parts = ["django_etcdaero", *dotted.split(".")]
    for cut in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[cut:], module)
    raise AssertionError(dotted)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_what_is_called_ours_is_there(row: Row) -> None:
    paths = re.findall(r"`([\w/]+/\w+\.py)`", row.ours)
    assert all((ROOT / path).is_file() for path in paths)
    assert names(row) or paths
    for name in names(row):
        found = resolve(name.dotted)
        if name.arguments:
            assert set(name.arguments) <= parameters(found), name


def parameters(function: Any) -> set[str]:
    """Return the names of all arguments, those of ``**options: Unpack[Options]`` too."""
    found = inspect.signature(function).parameters
    options = [name for name, each in found.items() if each.kind is inspect.Parameter.VAR_KEYWORD]
    unpacked = [get_args(get_type_hints(function)[name])[0] for name in options]
    return set(found).union(*((get_origin(each) or each).__annotations__ for each in unpacked))


# --- shown -----------------------------------------------------------------------------------------------------------


@functools.cache
def functions(path: Path) -> set[str]:
    return {each.name for each in ast.parse(path.read_text()).body if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("row", [row for row in ROWS if row.number], ids=str)
def test_the_test_that_shows_it_exists(row: Row) -> None:
    file, _, function = row.last.strip("`").partition("::")
    path = ROOT / "tests" / file
    assert path.name.startswith("test_")
    assert function.startswith("test_")
    assert function in functions(path)


@pytest.mark.parametrize("row", [row for row in ROWS if not row.number], ids=str)
def test_functions_point_to_capabilities(row: Row) -> None:
    numbers = [int(number) for number in re.findall(r"\d+", row.last)]
    assert numbers
    assert set(numbers) <= set(range(1, CAPABILITIES + 1))

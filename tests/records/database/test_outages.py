"""A server that goes away, freezes, or makes a statement wait: bounded, named, and healed by itself."""

from __future__ import annotations

import signal

import pytest
from django.db import connections, transaction

from django_etcdaero.exceptions import (
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    OutcomeUnknown,
    PermissionDenied,
    StoreBusy,
    Unauthenticated,
)
from django_etcdaero.records.database.store import DatabaseStore
from django_etcdaero.records.database.table import TABLE
from django_etcdaero.records.store import Record
from tests.records.database.conftest import Database
from tests.waiting import wait_until

LOCK = f"SELECT 1 FROM {TABLE} FOR UPDATE"


def test_a_server_that_was_started_anew_is_used_again(endangered: Database) -> None:
    reading, writing = endangered.store(), endangered.store()
    reading.put(b"k", b"v")
    writing.put(b"k", b"v")
    endangered.server.stop()
    endangered.server.start()
    assert reading.get(b"k") == Record(b"v", 2, None)
    writing.put(b"k", b"w")
    assert reading.get(b"k") == Record(b"w", 3, None)


def test_without_a_server_every_call_says_so(endangered: Database) -> None:
    store = endangered.store()
    store.put(b"k", b"v")
    endangered.server.stop()
    for call in (lambda: store.get(b"k"), lambda: store.put(b"k", b"w"), lambda: endangered.store().get(b"k")):
        with pytest.raises(ClusterError, match=f"^db:{endangered.name}: ") as caught:
            call()
        assert endangered.server.password not in str(caught.value)
    endangered.server.start()
    assert store.get(b"k") == Record(b"v", 1, None)


def test_calls_to_a_frozen_server_end(endangered: Database) -> None:
    store = endangered.store()
    store.put(b"k", b"v")
    store.get(b"k")
    endangered.server.signal_all(signal.SIGSTOP)
    try:
        with pytest.raises(OutcomeUnknown, match="did not answer in time"):
            store.put(b"k", b"w", timeout=0.3)
        with pytest.raises(DeadlineExceeded):
            store.get(b"k", timeout=0.3)
    finally:
        endangered.server.signal_all(signal.SIGCONT)
    wait_until(lambda: store.get(b"k").value in (b"v", b"w"), 30, "an answer")


def test_a_read_of_a_frozen_server_ends(endangered: Database) -> None:
    store = endangered.store()
    store.put(b"k", b"v")
    endangered.server.signal_all(signal.SIGSTOP)
    try:
        with pytest.raises(DeadlineExceeded, match="did not answer in time"):
            store.get(b"k", timeout=0.3)
    finally:
        endangered.server.signal_all(signal.SIGCONT)
    assert store.get(b"k") == Record(b"v", 1, None)


def test_a_record_that_another_transaction_holds_is_waited_for_boundedly(
    database: Database, store: DatabaseStore
) -> None:
    store.put(b"k", b"v")
    with transaction.atomic(using=database.name):
        connections[database.name].cursor().execute(LOCK)
        with pytest.raises(StoreBusy, match="hold the record"):
            store.put(b"k", b"w", timeout=0.3)
        assert store.get(b"k", timeout=5) == Record(b"v", 1, None)
    store.put(b"k", b"w")
    assert store.get(b"k") == Record(b"w", 2, None)


def test_the_server_ends_a_statement_that_takes_too_long(database: Database, store: DatabaseStore) -> None:
    store.put(b"k", b"v")
    database.ask(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END'"
    )
    database.ask(f"CREATE TRIGGER slow BEFORE UPDATE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION slow()")
    (before,) = database.connections()
    with pytest.raises(DeadlineExceeded, match="stopped the statement"):
        store.touch(b"k", 60, timeout=0.3)
    assert database.connections() == [before]
    assert store.get(b"k") == Record(b"v", 1, None)


def test_limits_are_of_the_statement_and_not_of_the_session(database: Database, store: DatabaseStore) -> None:
    """A pooler would hand the session to somebody else."""
    store.put(b"k", b"v", timeout=3)
    session = store._connections._idle[0]
    before = database.ask("SHOW statement_timeout") + database.ask("SHOW lock_timeout")
    with session.wrapper.connection.cursor() as cursor:
        found = [cursor.execute(f"SHOW {name}").fetchone() for name in ("statement_timeout", "lock_timeout")]
    assert found == before


def test_a_missing_table_names_the_command_that_makes_it(database: Database, store: DatabaseStore) -> None:
    database.ask(f"DROP TABLE {TABLE}")
    command = f"python manage.py migrate django_etcdaero --database={database.name}"
    for call in (lambda: store.get(b"k"), lambda: store.put(b"k", b"v"), lambda: list(store.scan())):
        with pytest.raises(ConfigurationError, match=command):
            call()


def test_a_wrong_password_is_told_and_not_quoted(database: Database) -> None:
    connections.settings[database.name]["PASSWORD"] = "hunter2"
    with pytest.raises(Unauthenticated) as caught:
        database.store().get(b"k")
    assert "hunter2" not in str(caught.value)


def test_a_user_without_rights_is_told(database: Database) -> None:
    database.ask("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    connections.settings[database.name] |= {"USER": "guest", "PASSWORD": "guest"}
    with pytest.raises(PermissionDenied, match=TABLE):
        database.store().get(b"k")


def test_a_database_that_takes_no_writes_says_so(database: Database, store: DatabaseStore) -> None:
    database.ask(f'ALTER DATABASE "{database.name}" SET default_transaction_read_only = on')
    with pytest.raises(ClusterError, match="takes no writes"):
        store.put(b"k", b"v")
    assert store.get(b"k") is None


def test_a_driver_that_is_missing_is_told(database: Database) -> None:
    connections.settings[database.name]["ENGINE"] = "django.db.backends.oracle"
    with pytest.raises(ConfigurationError, match=f"db:{database.name}: "):
        database.store().get(b"k")


def test_statements_that_deadlock_are_repeated(database: Database, store: DatabaseStore) -> None:
    """The database undoes one of two that wait for each other."""
    store.put(b"k", b"v")
    database.ask(
        "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('attempts') < 4 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;"
        " RETURN NEW; END $$"
    )
    database.ask("CREATE SEQUENCE attempts")
    database.ask(f"CREATE TRIGGER fails BEFORE UPDATE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION fails()")
    store.put(b"k", b"w")
    assert store.get(b"k") == Record(b"w", 2, None)

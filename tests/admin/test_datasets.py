"""The pages of datasets: what they show, what can be done, and that they are bounded and whole whatever is down."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from pytest_django import Settings

from django_etcdaero import Changes, MaxShrink, kv
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.layout import PROCESSES
from django_etcdaero.datasets.publish.exploring import encode_key
from django_etcdaero.datasets.state.presence import Held, Registration
from django_etcdaero.datasets.state.refreshers import register
from django_etcdaero.datasets.state.stored_state import Attempt
from django_etcdaero.exceptions import ClusterError, DeadlineExceeded
from django_etcdaero.keyvalue.interception import interpose
from django_etcdaero.runtime import runtime
from django_etcdaero.testing import failing_kv

LIST = "/admin/django_etcdaero/dataset/"
CITIES = f"{LIST}cities/"


def text_of(client: Client, address: str, query: dict[str, Any] | None = None) -> str:
    """Return what a page says: its text, in one line."""
    answer = client.get(address, query or {})
    assert answer.status_code == 200, answer
    return text_of_answer(answer)


def text_of_answer(answer: Any) -> str:
    """Return the text of an answer, in one line."""
    shown = re.sub(r"<(script|style)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", shown))


def declared(rows: dict[Any, Any], name: str = "goods", **attributes: Any) -> Any:
    """Declare a dataset that nobody reads; ``rows`` are its source."""

    def load(self: Any) -> dict[Any, Any]:
        self.loads.append(1)
        return dict(rows)

    members = {"name": name, "load": load, "loads": [], "source": rows, **attributes}
    return type(name, (Dataset,), members).live  # type: ignore[attr-defined]


@pytest.fixture
def alone(registry: dict[str, Any], closing: None, settings: Settings) -> dict[str, Any]:
    """No datasets, and no reader in this process, which a request would start and which would register."""
    stores = {"KV": "mem:", "RECORDS": "mem:", "PREFIX": "tests", "OPTIONS": {"START": "off"}}
    settings.ETCDAERO = {"default": stores}
    return registry


@pytest.fixture
def goods(alone: dict[str, Any]) -> Any:
    """A dataset with three versions."""
    made = declared({"a": {"name": "Pot", "price": 1}, "b": {"name": "Pan", "price": 2}}, keep=3)
    assert made.refresh().ok
    made.source["a"] = {"name": "Pot", "price": 5}
    made.source["c"] = {"name": "<script>alert('x')</script>\x00\u202e", "price": 3}
    assert made.refresh(force=True).ok
    del made.source["b"]
    assert made.refresh(force=True).ok
    return made


@contextmanager
def records_away() -> Iterator[None]:
    records = runtime.stores("default").records
    with pytest.MonkeyPatch.context() as patch:
        for call in ("get_many", "get", "exists_many", "exists"):

            def away(*args: Any, **options: Any) -> Any:
                raise ClusterError("no node answers")

            patch.setattr(records, call, away)
        yield


def register_process(number: int, schemas: dict[str, int], held: Held) -> None:
    who = Registration(host="web", pid=number, started=1000.0, schemas=schemas)
    kv.put(f"{PROCESSES}web-{number}-x", who.encode())
    kv.put(f"{PROCESSES}web-{number}-x/held", held.encode())


# the list -------------------------------------------------------------------------------------------------------------


def test_the_list_says_how_each_dataset_is(goods: Any, root: Client) -> None:
    declared({}, "new")
    assert "never published" in text_of(root, LIST)
    listed = text_of(root, LIST, {"q": "goods"})
    for words in ("● valid", "no process", "goods"):
        assert words in listed
    goods.pin(reason="stocktaking", by="anna")
    layout = goods.layout("tests")
    failed = Attempt(at=1000.0, next_at=1001.0, failures=2, error="ValueError: no source")
    kv.put(layout.attempt, failed.encode())
    with kv.lock(layout.lock):
        listed = text_of(root, LIST)
    assert re.search(r"■ failed since ▲ pinned ↻ refreshing by [^ ]+/\d+", listed)
    assert "ValueError: no source" in listed


def test_what_is_overdue_is_told(alone: dict[str, Any], root: Client) -> None:
    made = declared({"a": 1}, refresh_every=timedelta(microseconds=1))
    assert made.refresh().ok
    assert "▲ overdue" in text_of(root, LIST)
    assert "▲ overdue" in text_of(root, f"{LIST}goods/change/")


def test_loads_of_changes_and_what_they_had_missed_are_told(alone: dict[str, Any], root: Client) -> None:
    told: list[str] = []
    made = declared(
        {"a": 1, "b": 2},
        keep=3,
        load_changes=lambda self, since: Changes({key: self.source[key] for key in told[since:]}, [], len(told)),
        change_cursor=lambda self: len(told),
    )
    page = f"{LIST}goods/change/"
    assert made.refresh().ok
    assert "everything last loaded" in text_of(root, page)
    made.source["a"] = 3
    told.append("a")
    assert made.refresh(force=True).changes
    made.source["b"] = 4  # nobody tells
    assert made.refresh(full=True).drift == 1
    shown = text_of(root, page)
    assert "everything loaded every 24 h and changes in between" in shown
    assert "everything ▲ 1 row was not what changes had told" in shown
    assert shown.index("▲ 1 row was not") < shown.index(" changes \u2013 ")


def test_a_dataset_without_changes_says_nothing_of_them(goods: Any, root: Client) -> None:
    shown = text_of(root, f"{LIST}goods/change/")
    assert "everything" not in shown


def test_many_datasets_and_processes_take_few_calls(alone: dict[str, Any], root: Client) -> None:
    schemas = {}
    for number in range(100):
        made = declared({"a": 1}, f"d{number}")
        schemas[made.name] = made.schema
    assert alone["d0"].refresh().ok
    newest = alone["d0"].history()[0].announcement
    revision = kv.get(alone["d0"].layout("tests").announcement).mod_revision  # type: ignore[union-attr]
    for number in range(300):
        behind = {"d0": [None, "INITIALIZING"]} if number < 3 else {}
        register_process(number, {"d0": 1}, Held(revision=revision, otherwise=behind))
    calls: Counter[str] = Counter()

    @contextmanager
    def counted(call: str, _argument: Any) -> Iterator[None]:
        calls[call] += 1
        yield

    end = interpose(kv.engine, counted)
    listed = text_of(root, LIST, {"q": "d0"})
    page = text_of(root, f"{LIST}d0/change/")
    end()
    assert newest.version == 1
    assert "297 of 300 processes" in listed
    assert "297 of 300 processes on version 1" in page
    assert "web/2" in page
    assert calls["range"] < 40
    assert set(calls) == {"range"}


# one dataset ----------------------------------------------------------------------------------------------------------


def test_the_page_tells_who_holds_what_and_the_history(cities: Any, root: Client) -> None:
    register_process(7, {"cities": 1}, Held(revision=1, otherwise={"cities": [None, "INITIALIZING"]}))
    register_process(8, {"cities": 9}, Held(revision=1, otherwise={}))
    page = text_of(root, f"{CITIES}change/")
    assert "1 of 2 processes on version 1" in page
    assert "web/7" in page
    assert "1 process reads schema 9" in page
    assert re.search(r"load [\d.]+ m?s , validate [\d.]+ m?s , store [\d.]+ m?s , try [\d.]+ m?s", page)
    assert "no service that is running now" in page
    key = register(kv, {"cities": 1}, started=1.0)
    assert "no service that is running now" not in text_of(root, f"{CITIES}change/")
    key.close()


def test_charts_have_a_text_beside_each_figure(goods: Any, root: Client) -> None:
    page = root.get(f"{LIST}goods/change/").content.decode()
    assert page.count('role="img"') == 3
    assert "From version 1 to 3: 2 to 2; at most 3." in page
    for name in ("rows", "size", "duration"):
        assert f'aria-labelledby="chart-{name}-title chart-{name}-text"' in page
        assert f'<desc id="chart-{name}-text">' in page


def test_refused_loads_pins_and_reasons_are_shown(alone: dict[str, Any], root: Client) -> None:
    made = declared(dict.fromkeys(range(10), 1), validators=[MaxShrink(0.3)])
    assert made.refresh().ok
    made.source.clear()
    assert not made.refresh(force=True).ok
    made.pin(reason="<b>until Monday</b>", by="anna")
    page = text_of(root, f"{LIST}goods/change/")
    assert "fall from 10 to 0" in page
    assert "By anna." in page
    assert "&lt;b&gt;until Monday&lt;/b&gt;" in page
    assert "■ failed since" in page


def test_what_is_only_for_some_is_offered_to_them_only(goods: Any, staff: Callable[..., Client]) -> None:
    page = staff("view_dataset").get(f"{LIST}goods/change/").content.decode()
    for name in ("refresh", "pin", "unpin", "rollback", "rows", "diff"):
        assert f"{LIST}goods/{name}/" not in page
    page = staff("view_dataset", "view_row", "pin_dataset").get(f"{LIST}goods/change/").content.decode()
    for name in ("pin", "rollback", "rows", "diff"):
        assert f"{LIST}goods/{name}/" in page


# what has changed -----------------------------------------------------------------------------------------------------


def test_a_diff_is_shown_field_by_field(goods: Any, root: Client) -> None:
    page = text_of(root, f"{LIST}goods/diff/", {"old": 1, "new": 3})
    assert "+ 1 added" in page
    assert "\N{MINUS SIGN} 1 removed" in page
    assert "~ 1 changed" in page
    assert re.search(r"&#x27;a&#x27; ~ changed &#x27;price&#x27; 1 5", page)
    assert "Pan" not in text_of(root, f"{LIST}goods/diff/", {"old": 1, "new": 3, "kind": "added"})
    assert "all rows are the same" in text_of(root, f"{LIST}goods/diff/", {"old": 2, "new": 2})


def test_a_version_that_is_not_kept_is_told(goods: Any, root: Client) -> None:
    assert "has no kept version 99; kept: 3, 2, 1" in text_of(root, f"{LIST}goods/diff/", {"old": 99, "new": 3})
    assert "has no kept version 99" in text_of(root, f"{LIST}goods/rows/", {"version": 99})
    assert "Version 3" in text_of(root, f"{LIST}goods/rows/", {"version": "nonsense"})


def test_a_large_diff_is_paged_and_reads_what_differs(alone: dict[str, Any], root: Client) -> None:
    made = declared({number: {"n": 0} for number in range(3000)})
    assert made.refresh().ok
    made.source.update({number: {"n": 1} for number in range(0, 3000, 25)})
    assert made.refresh(force=True).ok
    found, address = [], f"{LIST}goods/diff/"
    while address:
        page = root.get(address).content.decode()
        found += re.findall(r'scope="rowgroup" rowspan="1"><a href="[^"]*">(\d+)</a>', page)
        more = re.search(r'etcdaero-more" href="([^"]+)"', page)
        address = more[1].replace("&amp;", "&") if more else ""
    assert sorted(map(int, found)) == list(range(0, 3000, 25))
    made.source[7] = {"n": 2}
    assert made.refresh(force=True).ok
    read: list[int] = []
    records = runtime.stores("default").records
    get_many = records.get_many
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "get_many", lambda keys, **options: read.append(len(keys)) or get_many(keys, **options))
        assert "~ 1 changed" in text_of(root, f"{LIST}goods/diff/")
    assert sum(read) < 20


# rows -----------------------------------------------------------------------------------------------------------------


def test_rows_are_escaped(goods: Any, root: Client) -> None:
    for address in (f"{LIST}goods/rows/", f"{LIST}goods/rows/?key=c", f"{LIST}goods/diff/?old=1&new=3"):
        page = root.get(address).content.decode()
        assert "&lt;script&gt;alert" in page
        assert "<script>alert" not in page
        assert "\\x00\\u202e" in page
        assert "\u202e" not in page


@pytest.mark.parametrize(
    ("kind", "typed", "found"),
    [
        ("text", "7", "text"),
        ("integer", "7", "number"),
        ("literal", "(1, 'a')", "tuple"),
        ("literal", '[1, "a"]', "tuple"),
        ("literal", "None", "none"),
        ("uuid", "00000000-0000-0000-0000-000000000007", "uuid"),
    ],
)
def test_a_key_is_looked_up_by_its_type(alone: dict[str, Any], root: Client, kind: str, typed: str, found: str) -> None:
    from uuid import UUID

    made = declared({"7": "text", 7: "number", (1, "a"): "tuple", None: "none", UUID(int=7): "uuid"})
    assert made.refresh().ok
    assert f"&#x27;{found}&#x27;" in text_of(root, f"{LIST}goods/rows/", {"key": typed, "type": kind})


def test_a_key_that_makes_no_sense_is_told(goods: Any, root: Client) -> None:
    for kind, typed in (("integer", "x"), ("literal", "f(1)"), ("literal", "{"), ("uuid", "x"), ("literal", "{1: 2}")):
        page = text_of(root, f"{LIST}goods/rows/", {"key": typed, "type": kind})
        assert "no such key" in page or "cannot" in page or "key" in page
    assert "has no row with this key" in text_of(root, f"{LIST}goods/rows/", {"key": "z"})
    assert root.get(f"{LIST}goods/rows/", {"k": "c1"}).status_code == 200


def test_a_key_over_all_versions(goods: Any, root: Client) -> None:
    page = text_of(root, f"{LIST}goods/rows/", {"k": encode_key("b").hex()})
    assert re.search(r"Over all kept versions.* 3 .*no row.* 2 .*&#x27;Pan&#x27;.* 1 .*&#x27;Pan&#x27;", page)
    page = text_of(root, f"{LIST}goods/rows/", {"k": encode_key("a").hex(), "version": 1})
    assert "~ changed : price" in page


def test_rows_are_searched_and_paged(alone: dict[str, Any], root: Client) -> None:
    made = declared({f"key{number}": {"n": number, "city": "Bern" if number == 77 else "-"} for number in range(120)})
    assert made.refresh().ok
    page = root.get(f"{LIST}goods/rows/").content.decode()
    assert page.count('<th scope="row">') == 50
    more = re.search(r'etcdaero-more" href="([^"]+)"', page)
    assert more is not None
    assert root.get(more[1].replace("&amp;", "&")).content.decode().count('<th scope="row">') == 50
    page = text_of(root, f"{LIST}goods/rows/", {"q": "bErn"})
    assert "1 row with “bErn” on this page; 100 % of version 1 was searched" in page
    assert "key77" in page


# acts -----------------------------------------------------------------------------------------------------------------


def test_a_refresh_is_asked_for_and_the_wait_is_shown(cities: Any, root: Client) -> None:
    answer = root.post(f"{CITIES}refresh/", {"reason": "prices are wrong"})
    waiting = answer["Location"]
    page = root.get(waiting).content.decode()
    assert 'data-etcdaero-poll="1"' in page
    assert "No service that refreshes this dataset is running now" in page
    assert "manage.py etcdaero_refresh --loop" in page
    assert cities.history()[0].version == 1, "a web process loads no source"
    key = register(kv, {"cities": 1}, started=1.0)
    assert "1 service refreshes this dataset and will hear it" in text_of(root, waiting)
    key.close()
    assert cities.refresh().ok
    page = root.get(waiting).content.decode()
    assert "Answered by version 1" in page
    assert "1 of 1 process holds it" in page
    assert 'data-etcdaero-poll="over"' in page


def test_the_wait_tells_of_a_load_that_failed(goods: Any, root: Client) -> None:
    waiting = root.post(f"{LIST}goods/refresh/", {"reason": "x"})["Location"]
    goods.source["d"] = object()
    assert not goods.refresh().ok
    page = text_of(root, waiting)
    assert "The last load failed" in page
    assert "EncodeError" in page
    for odd in ("id=x&revision=1", "id=ab&revision=x", "id=ab", ""):
        assert root.get(f"{LIST}goods/refreshing/?{odd}").status_code == 200


def test_pinning_and_going_back_say_who_and_why(goods: Any, staff: Callable[..., Client]) -> None:
    client = staff("view_dataset", "pin_dataset")
    asked = client.get(f"{LIST}goods/rollback/", {"version": 1})
    assert '<option value="1" selected>' in asked.content.decode()
    answer = client.post(f"{LIST}goods/rollback/", {"version": "1", "reason": "c is wrong"}, follow=True)
    assert "Rolled back to version 1, and pinned there: c is wrong" in answer.content.decode()
    pin = goods.history()[-1].pin
    assert (pin.version, pin.by, pin.reason) == (1, client.user.get_username(), "c is wrong")  # type: ignore[attr-defined]
    client.post(f"{LIST}goods/unpin/", {"reason": "it is right again"})
    assert goods.history()[-1].pin is None
    client.post(f"{LIST}goods/pin/", {"reason": "stocktaking"})
    assert goods.history()[-1].pin.reason == "stocktaking"
    assert LogEntry.objects.count() == 3
    assert "There is nothing to do now" in client.post(f"{LIST}goods/pin/", {"reason": "again"}).content.decode()
    assert client.post(f"{LIST}goods/refresh/", {"reason": "x"}).status_code == 403


def test_a_version_that_was_dropped_meanwhile_is_told(goods: Any, root: Client) -> None:
    kv.delete(goods.layout("tests").history(1))
    assert "which is not kept any more" in root.get(f"{LIST}goods/rollback/", {"version": 1}).content.decode()
    answer = root.post(f"{LIST}goods/rollback/", {"version": "1", "reason": "x"})
    assert answer.status_code == 409
    assert "has no kept version 1" in answer.content.decode()
    assert "has no kept version 1" in LogEntry.objects.get().get_change_message()
    for odd in ("", "x", "-1", "9" * 30):
        assert root.post(f"{LIST}goods/rollback/", {"version": odd, "reason": "x"}).status_code == 200


def test_several_are_asked_for_at_once(goods: Any, staff: Callable[..., Client]) -> None:
    declared({}, "other")
    client = staff("view_dataset", "refresh_dataset")
    chosen = {"action": "refresh_several", "_selected_action": ["goods", "other"]}
    asked = client.post(LIST, chosen)
    assert "is asked for new loads: goods, other." in text_of_answer(asked)
    assert kv.get(goods.layout("tests").request) is None
    assert "This field is required" in text_of_answer(client.post(LIST, {**chosen, "confirmed": "yes"}))
    done = client.post(LIST, {**chosen, "confirmed": "yes", "reason": "prices"}, follow=True)
    assert "A refresh of 2 datasets was asked for." in text_of_answer(done)
    assert kv.get(goods.layout("tests").request) is not None
    assert {entry.object_id for entry in LogEntry.objects.all()} == {"goods", "other"}
    with failing_kv(DeadlineExceeded("txn: no answer"), calls=["txn"]):
        done = client.post(LIST, {**chosen, "confirmed": "yes", "reason": "prices"}, follow=True)
    assert "“goods”: DeadlineExceeded: txn: no answer" in text_of_answer(done)


def test_who_may_only_look_has_no_action(goods: Any, staff: Callable[..., Client]) -> None:
    client = staff("view_dataset")
    assert "refresh_several" not in client.get(LIST).content.decode()
    chosen = {"action": "refresh_several", "_selected_action": ["goods"], "confirmed": "yes", "reason": "x"}
    client.post(LIST, chosen)
    assert kv.get(goods.layout("tests").request) is None


def test_a_race_is_told(goods: Any, root: Client) -> None:
    published = iter([True])

    @contextmanager
    def publishing(call: str, argument: Any) -> Iterator[None]:
        if call == "txn" and next(published, False):
            goods.source["d"] = {"name": "Lid", "price": 1}
            assert goods.refresh(force=True).ok
        yield

    end = interpose(kv.engine, publishing)
    answer = root.post(f"{LIST}goods/rollback/", {"version": "1", "reason": "x"})
    end()
    assert answer.status_code == 409
    assert "something was published meanwhile" in answer.content.decode()


def seen_at(client: Client, act: str) -> str:
    """Return which pin the form of an act was made with."""
    found = re.search(r'name="seen" value="(\d+)"', client.get(f"{LIST}goods/{act}/").content.decode())
    assert found is not None
    return found[1]


def test_a_pin_that_the_visitor_has_not_seen_is_not_undone(goods: Any, root: Client) -> None:
    unpinned = {act: seen_at(root, act) for act in ("pin", "rollback")}
    goods.pin(2, reason="ours", by="bob")
    form = {"version": "1", "reason": "x", "seen": unpinned["rollback"]}
    assert "somebody pinned or unpinned it meanwhile" in text_of_answer(root.post(f"{LIST}goods/rollback/", form))
    seen = seen_at(root, "unpin")
    goods.unpin()
    goods.pin(3, reason="ours again", by="bob")
    answer = root.post(f"{LIST}goods/unpin/", {"reason": "x", "seen": seen})
    assert answer.status_code == 409
    assert "somebody pinned or unpinned it meanwhile" in text_of_answer(answer)
    assert goods.history()[0].pin.reason == "ours again"
    goods.unpin()
    assert "There is nothing to do now" in text_of_answer(
        root.post(f"{LIST}goods/unpin/", {"reason": "x", "seen": seen})
    )
    assert root.post(f"{LIST}goods/pin/", {"reason": "x", "seen": unpinned["pin"]}).status_code == 302


# what is down ---------------------------------------------------------------------------------------------------------


def every_page() -> list[str]:
    pages = ["change/", "diff/", "rows/", f"rows/?{urlencode({'key': 'a'})}", "refreshing/", "refresh/", "rollback/"]
    return ["/admin/django_etcdaero/overview/", LIST, *(f"{LIST}goods/{page}" for page in pages)]


def test_every_page_is_whole_without_kv(goods: Any, root: Client) -> None:
    with failing_kv(DeadlineExceeded("range: the server is away")):
        for address in every_page():
            answer = root.get(address)
            assert answer.status_code == 200, address
            assert "the server is away" in answer.content.decode(), address
        assert "not known" in text_of(root, LIST)
        page = text_of(root, f"{LIST}goods/change/")
    assert re.search(r"version 3 as the record store has it", page)


def test_every_page_is_whole_without_records(goods: Any, root: Client) -> None:
    with records_away():
        for address in every_page():
            answer = root.get(address)
            assert answer.status_code == 200, address
            assert "no node answers" in answer.content.decode(), address
        assert "● valid" in text_of(root, LIST)


def test_every_page_is_whole_without_both(goods: Any, root: Client) -> None:
    with records_away(), failing_kv(DeadlineExceeded("range: the server is away")):
        for address in every_page():
            answer = root.get(address)
            assert answer.status_code == 200, address
            assert "the server is away" in answer.content.decode(), address
            assert "no node answers" in answer.content.decode(), address

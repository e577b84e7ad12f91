"""What a team does with rows, snapshots and datasets: hand them around, and change what must not be changed."""

from __future__ import annotations

import copy
import json
import pickle
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from django import forms
from django.core.cache.backends.locmem import LocMemCache
from django.http import JsonResponse
from django.template import Context, Engine
from django.utils.safestring import SafeString, mark_safe

from django_etcdaero import MinRows, datasets, thaw
from django_etcdaero.datasets.snapshot import Snapshot, rows_of
from django_etcdaero.exceptions import KeyNotFound
from tests.datasets.hosting import FakeHost, follow, many, publish

ROWS: dict[str, dict[str, Any]] = {
    "A1": {"name": "Teapot", "tags": ["x", "y"], "size": {"w": 1}, "price": Decimal("4.50")},
    "B2": {"name": "Cup", "tags": [], "size": {"w": 2}, "price": Decimal(1)},
}


class Point(NamedTuple):
    x: int
    y: list[int]


@pytest.fixture
def served(host: FakeHost, declare: Any) -> Any:
    """Return a function that declares a dataset, publishes its rows, and serves them."""

    def serve(source: Any = ROWS, /, **options: Any) -> Any:
        made = declare(source, **options)
        assert publish(made).ok
        follow(made, host).step()
        return made

    return serve


@pytest.fixture(params=["frozen", "plain"])
def products(served: Any, request: pytest.FixtureRequest) -> Any:
    return served(rows=request.param)


# --- handing rows around ---------------------------------------------------------------------------------------------


def test_rows_are_answered_as_json(products: Any) -> None:
    expected = {key: {**row, "price": str(row["price"])} for key, row in ROWS.items()}
    assert json.loads(JsonResponse(products["A1"]).content) == expected["A1"]
    assert json.loads(JsonResponse(products["A1"]["tags"], safe=False).content) == ["x", "y"]
    assert json.loads(JsonResponse(dict(products)).content) == expected


def test_django_rest_framework_renders_rows(products: Any) -> None:
    from rest_framework import renderers, response, serializers

    class Product(serializers.Serializer):  # type: ignore[misc]
        name = serializers.CharField()
        tags = serializers.ListField()
        size = serializers.DictField()
        price = serializers.DecimalField(max_digits=6, decimal_places=2)

    render = renderers.JSONRenderer().render
    for given in (lambda row: response.Response(row).data, lambda row: Product(row).data):
        assert render(given(products["A1"])) == render(given(ROWS["A1"]))
    assert Product(products.values(), many=True).data[0]["size"] in ({"w": 1}, {"w": 2})


def test_templates_read_rows(products: Any) -> None:
    text = "{{ d.A1.name }} {{ d.A1.tags.1 }} {{ d.B2.tags|length }} "
    text += "{% for k, v in d.A1.size.items %}{{ k }}={{ v }}{% endfor %}"
    assert Engine().from_string(text).render(Context({"d": products})) == "Teapot y 0 w=1"


def test_templates_cannot_change_rows(served: Any) -> None:
    products = served()
    text = "{{ row.clear }}{{ row.popitem }}{{ row.tags.pop }}{{ row.tags.sort }}{{ row.tags.reverse }}{{ row.name }}"
    assert Engine().from_string(text).render(Context({"row": products["A1"]})) == "Teapot"
    assert dict(products) == ROWS


def test_querysets_are_filtered_by_what_rows_hold(products: Any) -> None:
    from django.contrib.contenttypes.models import ContentType

    tags = products["A1"]["tags"]
    for filters in ({"model__in": tags}, {"model__range": tags}):
        assert "x" in str(ContentType.objects.filter(**filters).query)


def test_what_a_cache_gives_back_of_a_row_is_ordinary(products: Any) -> None:
    cache = LocMemCache("rows", {})
    cache.set("row", products["A1"])
    row = cache.get("row")
    row["tags"].append("z")
    assert products["A1"] == ROWS["A1"]


# --- copying and pickling datasets and snapshots ---------------------------------------------------------------------


def test_a_copy_of_a_dataset_is_the_dataset(products: Any) -> None:
    assert copy.copy(products) is copy.deepcopy(products) is pickle.loads(pickle.dumps(products)) is products
    pickled = pickle.dumps(products)
    del datasets["prices"]
    with pytest.raises(KeyNotFound):
        pickle.loads(pickled)


def test_a_copy_of_a_snapshot_is_the_snapshot(products: Any) -> None:
    view = products.snapshot()
    assert copy.copy(view) is copy.deepcopy(view) is view
    read = pickle.loads(pickle.dumps(view))
    assert type(read) is Snapshot
    assert dict(read) == ROWS
    assert (read.name, read.version, read.published_at, read.index) == ("prices", 1, view.published_at, None)
    read["A1"]["tags"].append("z")
    assert view["A1"] == ROWS["A1"]


def test_a_pickled_snapshot_keeps_order_and_indexes(served: Any) -> None:
    products = served(ordered=True, indexes=["name"])
    read = pickle.loads(pickle.dumps(products.snapshot()))
    assert list(read) == list(ROWS)
    assert read.sequence() == tuple(read.values())
    (row,) = read.by("name")[ROWS["A1"]["name"]]
    assert row is read["A1"]


def test_thaw_makes_a_dict_of_a_dataset_and_of_a_snapshot(products: Any) -> None:
    for made in (thaw(products), thaw(products.snapshot())):
        assert made == ROWS
        made["A1"]["tags"].append(made.pop("B2"))
    assert dict(products) == ROWS


def test_form_fields_take_choices_of_a_dataset(served: Any) -> None:
    names = served({"A1": "Teapot", "B2": "Cup"})

    class Order(forms.Form):
        product = forms.ChoiceField(choices=names.items)

    assert Order({"product": "B2"}).is_valid()
    assert not Order({"product": "Z9"}).is_valid()


# --- a change is an error where it is tried --------------------------------------------------------------------------


def test_a_view_that_changes_a_row_fails_and_no_other_sees_it(served: Any) -> None:
    products = served()
    with pytest.raises(TypeError, match=r"read-only, because all requests of the process share them: .* thaw\(row\)"):
        products["A1"]["price"] *= 2
    assert dict(products) == ROWS


@pytest.mark.parametrize("rows", ["frozen", "plain"])
def test_a_prepare_that_changes_frozen_rows_fails_the_refresh(served: Any, rows: str) -> None:
    def prepare(self: Any, rows: Any) -> None:
        for row in rows.values():
            row["price"] *= 2

    products = served(rows=rows)
    type(products).prepare = prepare
    result = publish(products, ROWS | {"C3": ROWS["B2"]})
    if rows == "frozen":
        assert str(result.error).startswith("ValidationFailed: prepare() raised TypeError: rows of a dataset are read-")
    else:
        assert result.ok


@pytest.mark.parametrize("rows", ["frozen", "plain"])
@pytest.mark.parametrize("which", ["old", "new"])
def test_a_validator_that_changes_rows_refuses_them(served: Any, rows: str, which: str) -> None:
    def validator(old: Any, new: Any) -> None:
        ({"old": old, "new": new}[which])["A1"]["tags"].append("z")

    products = served(rows=rows)
    type(products).validators = (validator,)
    source = copy.deepcopy(ROWS)
    result = publish(products, source)
    assert str(result.error).startswith("ValidationFailed: validator raised TypeError: rows of a dataset are read-only")
    assert source == ROWS


def test_validators_see_the_rows_as_they_were_loaded(served: Any) -> None:
    seen: list[Any] = []
    rows = {"a": {1, 2}, "b": (1, [2]), "c": 3}
    prices = served(rows, row_type=None)
    type(prices).validators = (
        MinRows(3),
        lambda old, new: seen.append((dict(old), dict(new), new.keys() - old.keys())),
    )
    assert publish(prices, rows | {"d": None}).ok
    assert seen == [(rows, rows | {"d": None}, {"d"})]


@pytest.mark.parametrize("change", ["add", "remove", "replace the rows"])
def test_a_process_that_changed_its_own_rows_loads_the_next_version(served: Any, host: FakeHost, change: str) -> None:
    prices = served(many(500), rows="plain")
    with pytest.raises(TypeError):
        prices.snapshot().rows["extra"] = 1
    rows = rows_of(prices.snapshot())  # not for users; but whatever has done it, the next version is whole again
    if change == "add":
        rows["extra"] = {}
    elif change == "remove":
        for key in list(rows)[:250]:
            del rows[key]
    else:
        for row in rows.values():
            row.clear()
    look = follow(prices, host)
    look.step()
    for number in (1, 2, 3):
        assert publish(prices, many(500, k1={"n": -number})).ok
        look.step()
        assert prices["k1"] == {"n": -number}
    assert prices.snapshot().version == 4
    assert len(prices) == 500
    assert "extra" not in prices


# --- publishing what another dataset gave ----------------------------------------------------------------------------


@pytest.mark.parametrize("give", [lambda data: data, lambda data: data.snapshot(), dict, lambda data: data.items()])
def test_a_loader_hands_on_the_rows_of_another_dataset(served: Any, host: FakeHost, give: Any) -> None:
    products = served()
    second = served(give(products), name="second")
    assert dict(second) == ROWS
    assert second["A1"] is not products["A1"]


def test_a_loader_that_returns_a_live_dataset_publishes_one_version_of_it(served: Any, host: FakeHost) -> None:
    products = served(dict.fromkeys(range(10), 1))
    look = follow(products, host)
    look.step()

    class Changing(type(products)):  # type: ignore[misc]
        """A new version arrives with each row that is read."""

        name = "changing"

        def __getitem__(self, key: Any) -> Any:
            row = super().__getitem__(key)
            self._live_state.install(Snapshot(self.name, dict.fromkeys(self, row + 1), None, None))
            return row

    changing = Changing.live
    changing._live_state.install(products.snapshot())
    second = served(changing, name="second")
    assert set(second.values()) == {1}


def test_safe_text_is_stored_as_text(served: Any) -> None:
    prices = served({mark_safe("a"): {"html": mark_safe("<b>"), mark_safe("k"): {mark_safe("e")}}})
    row = prices["a"]
    assert row == {"html": "<b>", "k": {"e"}}
    assert not any(isinstance(text, SafeString) for text in (*prices, row["html"], *row, *row["k"]))


# --- instances of a class --------------------------------------------------------------------------------------------


def test_what_instances_hold_is_read_only(served: Any) -> None:
    points = served({"home": {"x": 1, "y": [2]}}, row_type=Point)
    assert points["home"] == Point(1, [2])
    with pytest.raises(TypeError, match="read-only"):
        points["home"].y.append(3)
    changed = thaw(points["home"])
    changed.y.append(3)
    assert points["home"] == Point(1, [2]) == pickle.loads(pickle.dumps(points["home"]))

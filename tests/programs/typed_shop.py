"""What a project writes, for type checkers: behind each ``reveal_type`` stands what it must say.

Never run: ``tests/test_types.py`` gives it to mypy and pyright.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple, reveal_type

from django_etcdaero import (
    Dataset,
    MaxShrink,
    MinRows,
    ModelDataset,
    dataset,
    datasets,
    kv,
    kvs,
    model_changed,
    thaw,
)
from django_etcdaero.datasets.snapshot import Snapshot
from django_etcdaero.keyvalue import Collection, Event, Resync, ops
from django_etcdaero.keyvalue.objects import Stored
from django_etcdaero.testing import override_dataset


@dataclass(frozen=True)
class Product:
    name: str
    price: Decimal


class Point(NamedTuple):
    x: int
    y: int


def by_name(rows: Mapping[str, Product]) -> dict[str, list[str]]:
    return {row.name: [sku] for sku, row in rows.items()}


# --- the class form --------------------------------------------------------------------------------------------------


class Prices(Dataset[str, Decimal]):
    name = "prices"
    refresh_every = timedelta(minutes=5)
    max_stale = timedelta(hours=1)
    validators = [MinRows(1), MaxShrink(0.5)]

    def load(self) -> Iterator[tuple[str, Decimal]]:
        yield "A1", Decimal(1)

    def prepare(self, rows: Mapping[str, Decimal]) -> list[str]:
        return sorted(rows)

    def cheapest(self) -> str:
        return self.index[0]


class Products(Dataset[str, Product]):
    name = "products"
    row_type = Product
    rows = "plain"

    def load(self) -> dict[str, dict[str, object]]:
        return {"A1": {"name": "Teapot", "price": Decimal(1)}}


reveal_type(Prices.live)  # Prices
reveal_type(Prices.live["A1"])  # Decimal
reveal_type(Prices.live.get("A1"))  # Decimal | None
reveal_type(Prices.live.get("A1", Decimal(0)))  # Decimal
reveal_type(Prices.live.get("A1", default="none"))  # Decimal | str
reveal_type(Prices.live.index)  # list[str]
reveal_type(Prices.live.cheapest())  # str
reveal_type(Prices.live.snapshot())  # Snapshot[str, Decimal, list[str]]
reveal_type(Prices.live.snapshot()["A1"])  # Decimal
reveal_type(Prices.live.snapshot().get("A1"))  # Decimal | None
reveal_type(Prices.live.snapshot().index)  # list[str]
reveal_type(Prices.live.wait_ready(5).index)  # list[str]
reveal_type(Prices.live.refresh().outcome)  # Outcome
reveal_type(list(Prices.live.items()))  # list[tuple[str, Decimal]]
reveal_type(Products.live["A1"])  # Product
reveal_type(Products.live["A1"].price)  # Decimal
reveal_type(dataset(Prices))  # Prices
reveal_type(datasets["prices"])  # Any


async def first_version() -> None:
    reveal_type(await Prices.live.aready())  # Snapshot[str, Decimal, list[str]]


def in_a_view(view: Snapshot[str, Decimal]) -> Decimal:
    reveal_type(view.index)  # Any
    return view["A1"]


in_a_view(Prices.live.snapshot())

with override_dataset(Prices.live, {"A1": Decimal(2)}):
    pass


# --- models ----------------------------------------------------------------------------------------------------------


class Cities(ModelDataset[str, dict[str, object]]):
    name = "cities"
    model = "shop.City"
    key_field = "slug"
    fields = ("slug", "name")
    order_by = ("name",)
    indexes = ("name",)
    refresh_on = ["shop.City"]


class CityNames(ModelDataset[int, str]):
    name = "city-names"
    model = "shop.City"
    ordered = False

    def serialize(self, instance: Any) -> str:
        return str(instance)

    def prepare(self, rows: Mapping[int, str]) -> list[str]:
        return sorted(rows.values())


reveal_type(Cities.live)  # Cities
reveal_type(Cities.live["ulm"])  # dict[str, object]
reveal_type(Cities.live.by("name")["Ulm"])  # tuple[dict[str, object], ...]
reveal_type(Cities.live.by("name").one("Ulm"))  # dict[str, object]
reveal_type(Cities.live.get_many(["ulm"]))  # dict[str, dict[str, object]]
reveal_type(Cities.live.sequence())  # tuple[dict[str, object], ...]
reveal_type(Cities.live.snapshot().by("name")["Ulm"])  # tuple[dict[str, object], ...]
reveal_type(CityNames.live.index)  # list[str]
reveal_type(model_changed("shop.City", using="default"))  # None


# --- the function form -----------------------------------------------------------------------------------------------


@dataset
def stock() -> dict[str, int]:
    return {"A1": 1}


@dataset
def details() -> dict[str, dict[str, list[str]]]:
    return {"A1": {"tags": ["new"]}}


@dataset
def names() -> Iterator[tuple[int, str]]:
    yield 1, "Teapot"


@dataset(
    name="stock-by-sku",
    refresh_every=timedelta(minutes=5),
    schema=3,
    using="default",
    keep=2,
    required=False,
    first_read_timeout=1,
    max_stale=timedelta(hours=1),
    rows="plain",
    validators=[MinRows(1)],
    ordered=True,
    indexes=("name",),
    refresh_on=["shop.Product"],
)
def stock_by_sku() -> Iterator[tuple[str, int]]:
    yield "A1", 1


@dataset(row_type=Product)
def catalogue() -> dict[str, dict[str, object]]:
    return {"A1": {"name": "Teapot", "price": Decimal(1)}}


@dataset(row_type=Point, keep=2)
def points() -> Iterator[tuple[str, tuple[int, int]]]:
    yield "home", (1, 2)


@dataset(row_type=Product, prepare=by_name, required=False)
def named() -> dict[str, dict[str, object]]:
    return {}


@dataset(prepare=len)
def counted() -> dict[str, int]:
    return {"A1": 1}


reveal_type(stock)  # Dataset[str, int]
reveal_type(stock["A1"])  # int
reveal_type(stock.index)  # Any
reveal_type(thaw(stock["A1"]))  # int
reveal_type(thaw(stock))  # dict[str, int]
reveal_type(thaw(Prices.live.snapshot()))  # dict[str, Decimal]
reveal_type(thaw(details["A1"]))  # dict[str, list[str]]
reveal_type(names)  # Dataset[int, str]
reveal_type(names.get(1))  # str | None
reveal_type(stock_by_sku)  # Dataset[str, int]
reveal_type(catalogue)  # Dataset[str, Product]
reveal_type(catalogue["A1"].price)  # Decimal
reveal_type(points["home"])  # Point
reveal_type(named)  # IndexedDataset[str, Product, dict[str, list[str]]]
reveal_type(named.index)  # dict[str, list[str]]
reveal_type(counted)  # IndexedDataset[str, int, int]
reveal_type(counted.snapshot().index)  # int


# --- keys, locks and objects -----------------------------------------------------------------------------------------

orders = Collection(kv, Product, "orders/")

reveal_type(kvs["other"])  # KV
reveal_type(kv.get("a"))  # KeyValue | None
reveal_type(kv.get("a", default="none"))  # KeyValue | str
reveal_type(kv.put("a", "1", ttl=60).revision)  # int
reveal_type(kv.range("a", prefix=True).kvs)  # tuple[KeyValue, ...]
reveal_type(kv.range("a", prefix=True)[0])  # KeyValue
reveal_type([found.key for found in kv.range("a", prefix=True)])  # list[bytes]
reveal_type(kv.mirror("limits/"))  # Mirror[bytes]
reveal_type(kv.mirror("limits/", decode=int)["uploads"])  # int
reveal_type(kv.txn())  # Txn
reveal_type(kv.txn().when(ops.version("a") == 0).then(ops.put("a", "1")).commit().succeeded)  # bool
reveal_type(kv.objects(Product, "orders/"))  # Collection[Product]
reveal_type(orders)  # Collection[Product]
reveal_type(orders.get("1"))  # Stored[Product]
reveal_type(orders.get("1").object)  # Product

with ExitStack() as stack:
    reveal_type(stack.enter_context(kv.lock("jobs")))  # Lock
    reveal_type(stack.enter_context(kv.lease(10)))  # Lease
with kv.lock("jobs") as lock:
    reveal_type(lock)  # Lock
    reveal_type(lock.token)  # int

with kv.watch("a", prefix=True) as watch:
    for item in watch:
        reveal_type(item)  # Event
        reveal_type(item.kv.value)  # bytes

with kv.watch("a", prefix=True, resync=True) as marked:
    for each in marked:
        reveal_type(each)  # Event | Resync | Progress
        if isinstance(each, Event):
            reveal_type(each.kv.value)  # bytes
        elif isinstance(each, Resync):
            reveal_type(each.reason)  # ResyncReason


def followed(stored: Stored[Product]) -> None:
    reveal_type(stored.version)  # int


@kv.lock("jobs", timeout=5)
def nightly(day: str) -> int:
    return len(day)


@kv.lock("jobs")
async def anightly(day: str) -> int:
    return len(day)


reveal_type(nightly("monday"))  # int
kv.lock("jobs").on_lost(lambda lost, reason: print(lost.token, reason.value))
kv.session(10).on_lost(lambda lost: print(lost.id))


async def awaited() -> None:
    reveal_type(await anightly("monday"))  # int
    reveal_type(await kv.aget("a", b""))  # KeyValue | bytes
    reveal_type(await kv.aput("a", "1", ttl=60))  # PutResult

"""Some products, and what datasets of a test live in."""

from __future__ import annotations

import pytest

from tests.datasets.conftest import host  # noqa: F401 - a fixture
from tests.model_datasets.shop.models import Category, Product


@pytest.fixture
def shop(db: None) -> dict[str, Product]:
    """Three products in two categories, by their names."""
    kitchen = Category.objects.create(slug="kitchen", name="Kitchen")
    light = Category.objects.create(slug="light", name="Light")
    rows = [("A1", "Teapot", "19.90", kitchen), ("B2", "Cup", "4.50", kitchen), ("C3", "Lamp", "35", light)]
    return {
        name: Product.objects.create(sku=sku, name=name, price=price, category=category)
        for sku, name, price, category in rows
    }

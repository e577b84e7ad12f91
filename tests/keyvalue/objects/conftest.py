"""The fixtures of the samples, for all tests here."""

from tests.keyvalue.objects.samples import kv, orders

__all__ = ["kv", "orders"]

"""Typed objects, against a real server."""

from tests.keyvalue.objects.samples import kv, orders  # noqa: F401 - fixtures
from tests.keyvalue.objects.test_aio import *  # noqa: F403
from tests.keyvalue.objects.test_collection import *  # noqa: F403
from tests.keyvalue.objects.test_leased import *  # noqa: F403
from tests.keyvalue.objects.test_listing import *  # noqa: F403
from tests.keyvalue.objects.test_transaction import *  # noqa: F403
from tests.keyvalue.objects.test_watch import *  # noqa: F403

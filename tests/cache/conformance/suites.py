"""Django's tests of a cache, of its utilities and of its middleware, taken over as they are, with this cache.

Run by ``python -m django test tests.cache.conformance.suites``, with ``tests`` of Django's source on ``PYTHONPATH``.
"""

from __future__ import annotations

from typing import Any

import cache.tests as django_tests
from django.conf import settings
from django.test import TestCase, override_settings

BASE = settings.CACHE
WITHOUT_BOUND = {"cull", "zero_cull"}
"""Aliases of caches that hold so many entries at most, which only the store in memory does."""


@override_settings(
    CACHES=django_tests.caches_setting_for_tests(
        base=BASE, exclude=set() if BASE["LOCATION"].startswith("mem:") else WITHOUT_BOUND
    )
)
class Cache(django_tests.BaseCacheTests, TestCase):
    pass


def _with_our_cache(suite: Any) -> Any:
    """Return the suite with the caches that it sets in our store. Those with other locations get other prefixes."""
    caches = {
        alias: {**params, **BASE, "KEY_PREFIX": params.get("KEY_PREFIX", params.get("LOCATION", ""))}
        for alias, params in suite._overridden_settings["CACHES"].items()
    }
    return override_settings(CACHES=caches)(type(f"Our{suite.__name__}", (suite,), {"__module__": __name__}))


OurCacheUtils = _with_our_cache(django_tests.CacheUtils)
OurPrefixedCacheUtils = _with_our_cache(django_tests.PrefixedCacheUtils)
OurCacheHEADTest = _with_our_cache(django_tests.CacheHEADTest)
OurCacheI18nTest = _with_our_cache(django_tests.CacheI18nTest)
OurPrefixedCacheI18nTest = _with_our_cache(django_tests.PrefixedCacheI18nTest)
OurCacheMiddlewareTest = _with_our_cache(django_tests.CacheMiddlewareTest)
OurTestWithTemplateResponse = _with_our_cache(django_tests.TestWithTemplateResponse)


class OurCacheHandlerTest(django_tests.CacheHandlerTest):
    """The handler, with a default that is ours."""

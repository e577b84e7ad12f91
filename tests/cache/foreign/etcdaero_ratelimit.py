"""For the tests of django-ratelimit, whose source distribution has no settings."""

from etcdaero_injection import CACHE, caches, databases

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_ratelimit"]
DATABASES = databases("default")
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
CACHES = {
    **caches("default"),
    # Aliases that its tests want: servers that are not there, the second with errors ignored, and a cache that forgets.
    "connection-errors": {**CACHE, "LOCATION": "aerospike://127.0.0.1:1/test/set"},
    "connection-errors-redis": {
        **CACHE,
        "LOCATION": "aerospike://127.0.0.1:1/test/set",
        "OPTIONS": {"IGNORE_EXCEPTIONS": True},
    },
    "instant-expiration": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
}
# That it does not know the backend (W001). Its errors E003 name Django's backends that cannot count atomically.
SILENCED_SYSTEM_CHECKS = ["django_ratelimit.W001"]
TEST_RUNNER = "etcdaero_running.Runner"

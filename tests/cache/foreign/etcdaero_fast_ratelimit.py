"""For the tests of django-fast-ratelimit: its own settings, with our caches."""

from etcdaero_injection import caches, databases
from test_settings import *  # noqa: F403

CACHES = caches("default", "db")
DATABASES = databases("default")
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
TEST_RUNNER = "etcdaero_running.Runner"

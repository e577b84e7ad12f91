"""Settings with which Django's own tests are run: every cache is ours, at ``ETCDAERO_CONFORMANCE_LOCATION``."""

from etcdaero_injection import CACHE, databases

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["cache"]  # Django's tests of caches have a model
MIGRATION_MODULES = {"cache": None}
DATABASES = databases("default", "other")
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
LANGUAGE_CODE = "en"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

CACHE = {**CACHE, "OPTIONS": {"CALL_TIMEOUT": 60}}  # how long a call takes is a matter of what else the machine does
CACHES = {"default": CACHE}
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
TEST_RUNNER = "etcdaero_running.Runner"

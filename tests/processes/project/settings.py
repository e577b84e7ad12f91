"""Settings of the project; what differs from test to test comes from the environment (``SHOP_…``)."""

import json
import os
from pathlib import Path

DIRECTORY = Path(os.environ["SHOP_DIRECTORY"])

BASE_DIR = DIRECTORY
SECRET_KEY = "only for tests"
DEBUG = os.environ.get("SHOP_DEBUG") == "1"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["django_etcdaero", *(["shop"] if os.environ.get("SHOP_APP", "1") == "1" else [])]
DATABASES = json.loads(os.environ.get("SHOP_DATABASES", "{}"))
if os.environ.get("SHOP_CACHE") == "1":
    CACHES = {"default": {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": "etcdaero:default"}}
if os.environ.get("SHOP_DATABASE") == "1":
    DATABASES["default"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": DIRECTORY / "database"}

ETCDAERO = {
    "default": {
        "KV": os.environ["SHOP_KV"],
        "RECORDS": os.environ["SHOP_RECORDS"],
        "PREFIX": os.environ["SHOP_PREFIX"],
        "OPTIONS": {
            "LOCK_TTL": int(os.environ.get("SHOP_LOCK_TTL", "2")),
            "SESSION_TTL": 2,
            "SPLAY": 0,
            "REFRESH_IN_RUNSERVER": os.environ.get("SHOP_REFRESH", "off"),
            "CALL_TIMEOUT": float(os.environ.get("SHOP_CALL_TIMEOUT", "5")),
            "POLL_INTERVAL": float(os.environ.get("SHOP_POLL_INTERVAL", "30")),
        },
    },
}

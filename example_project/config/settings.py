"""Settings of the example project. Nothing has to be set; every value marked with ``env`` can be.

The example serves plain HTTP on this machine. Before it could face the internet it would need a TLS proxy,
``SECURE_SSL_REDIRECT``, secure cookies and HSTS (``manage.py check --deploy`` lists them).
"""

from __future__ import annotations

from pathlib import Path

import environ

from .secret_key import load_or_create

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = BASE_DIR / ".etcdaero"  # everything the example writes; delete it to start over

DEBUG = env.bool("DJANGO_DEBUG", default=False)
SECRET_KEY = env.str("DJANGO_SECRET_KEY", default="") or load_or_create(DATA_DIR / "secret_key")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])

DATA_DIR.mkdir(mode=0o700, exist_ok=True)
DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'db.sqlite3'}")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The subject of the example. With the defaults two SQLite files connect all processes of this host. A cluster sets
# ETCDAERO_KV=etcd://host1:2379,host2:2379,host3:2379 and ETCDAERO_RECORDS=aerospike://host:3000/namespace/set.
ETCDAERO = {
    "default": {
        "KV": env.str("ETCDAERO_KV", default="sqlite:///.etcdaero/kv.sqlite3"),
        "RECORDS": env.str("ETCDAERO_RECORDS", default="sqlite:///.etcdaero/records.sqlite3"),
        "PREFIX": "cities",
    },
}

# One file more for what is made on demand. A cluster sets CACHE_URL=aerospike://host:3000/namespace/another-set.
CACHES = {
    "default": {
        "BACKEND": "django_etcdaero.cache.EtcdAeroCache",
        "LOCATION": env.str("CACHE_URL", default="sqlite:///.etcdaero/cache.sqlite3"),
    },
}
SESSION_ENGINE = "django.contrib.sessions.backends.cache"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_etcdaero",
    "cities",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "config.security.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "cities.middleware.DatasetNotReadyMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_THOUSAND_SEPARATOR = True
STATIC_URL = "/static/"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} [{process}] {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        # "serving version N", once in each process: what the example is about.
        "django_etcdaero": {"handlers": ["console"], "level": "INFO"},
        "django.request": {"handlers": ["console"], "level": "ERROR", "propagate": False},
    },
}

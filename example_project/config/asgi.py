"""``config.asgi:application`` for uvicorn, hypercorn and daphne."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# A demo has no web server in front of it, so the application hands out its own style sheet.
application = ASGIStaticFilesHandler(get_asgi_application())

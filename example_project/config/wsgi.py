"""``config.wsgi:application`` for gunicorn and runserver."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# A demo has no web server in front of it, so the application hands out its own style sheet.
application = StaticFilesHandler(get_wsgi_application())

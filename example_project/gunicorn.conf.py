"""gunicorn with several worker processes: ``gunicorn -c gunicorn.conf.py config.wsgi``.

``WEB_CONCURRENCY`` is the number of workers, ``GUNICORN_BIND`` the address. With ``GUNICORN_PRELOAD=1`` the application
is imported before the workers are forked; each worker starts a reader of its own either way.
"""

import os
from pathlib import Path

chdir = str(Path(__file__).resolve().parent)
wsgi_app = "config.wsgi"
bind = os.environ.get("GUNICORN_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "3"))
threads = 4
preload_app = os.environ.get("GUNICORN_PRELOAD", "0") == "1"
control_socket_disable = True  # gunicorn's own, in the home directory: the example leaves nothing there

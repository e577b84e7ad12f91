"""For gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

if os.environ.get("SHOP_READ_AT_IMPORT") == "1":
    from shop.datasets import prices

    prices.snapshot()

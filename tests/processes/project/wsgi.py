"""For gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

if os.environ.get("SHOP_READ_AT_IMPORT") == "1":
    from shop.datasets import prices

    prices.snapshot()

if os.environ.get("SHOP_USES_AT_IMPORT") == "1":
    from django.core.cache import cache
    from shop.datasets import prices

    from django_etcdaero import kv

    prices.snapshot()
    kv.put("imported", "1")
    cache.set("imported", 1)

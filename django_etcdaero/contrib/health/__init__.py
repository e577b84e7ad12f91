"""Views for load balancers and Kubernetes: is this process started, ready, alive?

``path("health/", include("django_etcdaero.contrib.health.urls"))`` gives ``health/startup``, ``health/ready`` and
``health/live``. They look at the memory of the process only: no store is asked, so a store that is away makes no
process unfit that has its rows.
"""

"""What dj-control-room shows of this package."""

from __future__ import annotations

from dj_control_room_base.core import PanelPlugin


class EtcdAeroPanel(PanelPlugin):
    """A card that leads to the pages in the admin, which ask for their own permissions."""

    name = "etcdaero"
    description = "Datasets, keys, locks, processes and caches in etcd and Aerospike"
    icon = "database"
    icon_color = "indigo"
    app_name = "django_etcdaero.contrib.control_room"
    package = "django-etcdaero"
    docs_url = "https://github.com/django-etcdaero/django-etcdaero/blob/main/docs/index.rst"
    pypi_url = "https://pypi.org/project/django-etcdaero/"
    features = (
        "Datasets and the versions that processes hold",
        "Keys, locks and elections, leases, watches",
        "Caches: statistics, entries, tags, clearing with its scope",
    )

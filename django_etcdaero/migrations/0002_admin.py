"""The models of the admin, which have no table: Django makes the permissions of them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_etcdaero", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Cache",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
            ],
            options={
                "verbose_name": "cache",
                "verbose_name_plural": "caches",
                "permissions": (
                    ("reveal_entry", "Can see the values of cache entries"),
                    ("delete_entry", "Can delete cache entries and invalidate tags"),
                    ("clear_cache", "Can clear a cache"),
                ),
                "abstract": False,
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Dataset",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
            ],
            options={
                "verbose_name": "dataset",
                "verbose_name_plural": "datasets",
                "permissions": (
                    ("refresh_dataset", "Can ask for a refresh of a dataset"),
                    ("pin_dataset", "Can pin, unpin and roll back a dataset"),
                    ("view_row", "Can see the rows of datasets"),
                ),
                "abstract": False,
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Key",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
            ],
            options={
                "verbose_name": "key",
                "verbose_name_plural": "keys",
                "permissions": (
                    ("reveal_value", "Can see the values of keys"),
                    ("change_key", "Can add, change and restore keys"),
                    ("delete_key", "Can delete keys"),
                ),
                "abstract": False,
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
            ],
            options={
                "verbose_name": "lease",
                "verbose_name_plural": "leases",
                "permissions": (("revoke_lease", "Can revoke a lease, which deletes its keys"),),
                "abstract": False,
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Lock",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
            ],
            options={
                "verbose_name": "lock",
                "verbose_name_plural": "locks and elections",
                "permissions": (("release_lock", "Can release a lock that another process holds"),),
                "abstract": False,
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Overview",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
            ],
            options={
                "verbose_name": "overview",
                "verbose_name_plural": "overview",
                "abstract": False,
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Process",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
            ],
            options={
                "verbose_name": "process",
                "verbose_name_plural": "processes",
                "abstract": False,
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Watch",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
            ],
            options={
                "verbose_name": "watch",
                "verbose_name_plural": "watches",
                "permissions": (("follow_events", "Can follow the events of keys"),),
                "abstract": False,
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
    ]

"""The table of the record store ``db:``."""

from django.db import migrations, models

import django_etcdaero.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="StoredRecord",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "room", "record_key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("room", models.CharField(max_length=31)),
                ("record_key", django_etcdaero.models.KeyField(max_length=1024)),
                ("bytes_value", models.BinaryField(null=True)),
                ("int_value", models.BigIntegerField(null=True)),
                ("generation", models.BigIntegerField()),
                ("expires", models.BigIntegerField(db_index=True, null=True)),
            ],
            options={"db_table": "etcdaero_records", "default_permissions": ()},
        ),
    ]

"""``manage.py etcdaero_unpin``: end a hold of etcdaero_pin or etcdaero_rollback."""

from __future__ import annotations

from typing import Any

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.management.one_dataset import OneDatasetCommand


class Command(OneDatasetCommand):
    help = "End the hold of a dataset by etcdaero_pin or etcdaero_rollback, and ask for a load."

    def act_on(self, dataset: Dataset[Any, Any], options: dict[str, Any]) -> None:
        if self.change_stores(dataset.unpin):
            self.stdout.write(self.style.SUCCESS(f"{dataset.name}: unpinned; a load was requested"))
        else:
            self.stdout.write(f"{dataset.name}: was not pinned")

"""Loading a version as readers will, before it is announced to them.

A version that no process could load would leave every new process without data, and the refresh would look like a
success. Reading the blocks is left out where no code of the dataset takes part in loading: what was written is named by
its digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_etcdaero.datasets.blocks.assembly import assemble
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.exceptions import ConfigurationError, EtcdAeroError, ValidationFailed

if TYPE_CHECKING:
    from django_etcdaero.datasets.blocks.manifest import Fetch, Manifest
    from django_etcdaero.datasets.state.announcement import Announcement


def trial_load(dataset: Declared[Any, Any], announcement: Announcement, manifest: Manifest, fetch: Fetch) -> None:
    """Make the rows in the form that the dataset declares, and its index.

    Raises ``ValidationFailed`` when that does not work, and what ``fetch`` raises.
    """
    if isinstance(dataset.rows, str) and type(dataset).prepare is Declared.prepare:
        return
    try:
        dataset.prepare(assemble(announcement, manifest, fetch, rows=dataset.rows).view)
    except ConfigurationError as error:  # rows that do not fit the declared type
        raise ValidationFailed(f"no process could load the new rows: {error}") from error
    except EtcdAeroError:
        raise
    except Exception as error:
        raise ValidationFailed(f"prepare() raised {type(error).__name__}: {error}") from error

"""The tests of ``tests/processes/test_bad_sources.py``, on servers."""

from tests.processes.test_bad_sources import *  # noqa: F403

# Left out: what a source does wrong is found before a store is asked.
del test_whatever_is_wrong_with_the_source_the_old_version_stays  # noqa: F821
del test_the_error_for_a_row_that_cannot_be_stored_names_its_key_the_place_and_the_type  # noqa: F821

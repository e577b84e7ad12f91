"""The tests of ``tests/processes/test_operating.py``, on servers."""

from tests.processes.test_operating import *  # noqa: F403

# Left out: the command refuses wrong arguments before it opens a store, and its words do not depend on the stores.
del test_wrong_usage_ends_with_2  # noqa: F821
del test_each_result_is_a_line_of_json_or_of_text  # noqa: F821
# Left out: it is about the names of keys and records, which do not depend on the stores.
del test_old_and_new_code_refresh_and_read_lines_of_their_own  # noqa: F821
# Left out: as a dry run writes nothing, it makes no difference what it does not write to.
del test_a_dry_run_loads_and_writes_nothing  # noqa: F821
# Left out: how the next one takes over is in test_refreshing, with services as well.
del test_two_services_load_once_a_period_and_the_other_goes_on_when_one_is_killed  # noqa: F821

"""The tests of ``tests/processes/test_damage.py``, on servers."""

from tests.processes.test_damage import *  # noqa: F403

# Left out: it is about what is compared with what, and the stores are read as in the other tests.
del test_validators_and_the_comparison_with_the_old_version_do_not_keep_a_damaged_one  # noqa: F821
# Left out: what is damaged is found out as in the tests that stay.
del test_nobody_can_go_back_to_a_damaged_version  # noqa: F821

"""The tests of ``tests/processes/test_fencing.py``, on servers."""

from tests.processes.test_fencing import *  # noqa: F403

# Left out: the same as another test, about the words of the command.
del test_the_text_output_says_fenced  # noqa: F821
# Left out: the same as the one that slept right before announcing, with less written before it slept.
del test_a_refresher_that_slept_in_its_load_while_another_published_is_fenced  # noqa: F821

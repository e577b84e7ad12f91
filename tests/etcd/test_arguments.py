"""What users pass is checked before a real server sees it."""

from tests.kv.test_arguments import *  # noqa: F403

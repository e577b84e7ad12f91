"""What users pass is checked before a real server sees it."""

from tests.keyvalue.test_arguments import *  # noqa: F403

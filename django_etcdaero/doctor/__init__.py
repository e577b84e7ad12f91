"""The doctor: looks at the stores, at what this package keeps there, and at the project, and says what is wrong.

:func:`examine` runs the checks and returns a :class:`Report`; the command ``etcdaero_doctor`` prints it. Nothing is
changed unless that is asked for, and nothing is called when this is imported.
"""

from __future__ import annotations

from .catalogue import CHECKS
from .checking import Check
from .examining import TIMEOUT, examine, select
from .report import SCHEMA, Finding, Report, Severity
from .sweeping import Swept, sweep

__all__ = [
    "CHECKS",
    "SCHEMA",
    "TIMEOUT",
    "Check",
    "Finding",
    "Report",
    "Severity",
    "Swept",
    "examine",
    "select",
    "sweep",
]

"""A small server that speaks enough of Aerospike's wire protocol for the real client, for tests only.

One node, one namespace, in memory, on loopback; no roles, queries by index, scripts or lists. Times are those of the
server's clock, which a test may shift (:class:`.clock.Clock`); what a test may break is in :class:`.faults.Faults`.
Run as a program with ``python -m tests.records.aerospike.standin --port 3000 --namespace test``.
"""

from tests.records.aerospike.standin.server import Standin

__all__ = ["Standin"]

"""The record store in an Aerospike cluster. Importing it does not import the ``aerospike`` package."""

from .store import AerospikeStore
from .target import Tls

__all__ = ["AerospikeStore", "Tls"]

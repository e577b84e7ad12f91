"""Calls to particular members of an etcd cluster, for its administration."""

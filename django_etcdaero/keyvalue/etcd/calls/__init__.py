"""Unary calls to a cluster, blocking and awaited."""

"""Connections to the members of a cluster: where they are, logging in, which one to talk to."""

"""The record store in the memory of one process."""

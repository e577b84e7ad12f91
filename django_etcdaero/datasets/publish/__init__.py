"""From the source to an announced version, by one process at a time."""

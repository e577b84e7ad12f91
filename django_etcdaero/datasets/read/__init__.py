"""From an announced version to rows in memory, in every process."""

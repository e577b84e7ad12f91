"""What is built from the plain client's calls: atomic changes, paging, STM, temporary keys."""

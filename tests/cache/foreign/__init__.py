"""What the suites of others are given. On their path the modules stand alone: some have a ``tests``, too."""

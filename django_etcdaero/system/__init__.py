"""What belongs to the operating system and to CPython: threads, forks, kinds of processes, files of SQLite."""

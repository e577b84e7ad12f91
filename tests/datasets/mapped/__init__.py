"""Files that the processes of a host map."""

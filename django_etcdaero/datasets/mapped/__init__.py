"""One file for the rows of a version, which all processes of a host map instead of holding rows of their own."""

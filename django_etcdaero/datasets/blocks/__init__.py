"""Rows to blocks of bytes and back, and the records that hold them."""

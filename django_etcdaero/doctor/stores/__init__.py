"""What is looked at in any store: whether it can be read and written, and what holds its bytes."""

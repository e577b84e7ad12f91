"""The plain client: keys, transactions, leases, sessions and watches, below a prefix."""

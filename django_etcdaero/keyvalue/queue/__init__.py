"""Contending for a name: what locks and elections are made of."""

"""The record store in an Aerospike cluster."""

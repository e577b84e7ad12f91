"""What is looked at in a namespace of Aerospike, from what its nodes answer to the info protocol."""

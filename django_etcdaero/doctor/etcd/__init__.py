"""What is looked at in an etcd cluster."""

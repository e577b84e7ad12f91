"""Read by gunicorn from the directory that it is started in."""

control_socket_disable = True  # it would be in the home directory

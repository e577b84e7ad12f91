"""Connections to other packages, each optional and with an extra of its name. Nothing else imports them."""

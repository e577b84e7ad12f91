"""The record store in a table of one of the project's databases: PostgreSQL, MySQL or MariaDB.

The only room of record stores that imports Django: what it knows of servers and drivers is what Django's own backends
know.
"""

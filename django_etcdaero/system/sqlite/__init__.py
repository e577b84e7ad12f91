"""The rules by which every SQLite file of this package is opened, in one place.

* A file belongs to the user that runs the process and nobody else may read it: mode 0600, its ``-wal`` and ``-shm``
  too, missing parent directories 0700. Another owner is refused: whoever owns the file can read and forge its content
  (:mod:`.path`).
* It lives on a local file system. WAL mode coordinates processes through shared memory, which does not work across
  hosts (https://www.sqlite.org/wal.html, "Disadvantages"), and network file systems are known for broken locks.
* It carries the application id and the version of its schema, so that a foreign file is never written to
  (:mod:`.schema`), and is made under another name, so that nobody ever sees half a schema (:mod:`.creation`).
* It may be deleted or replaced at any time; whoever holds a connection compares what the path leads to at each call
  (:mod:`.identity`, :mod:`.kept_log`).
* An error of SQLite becomes the same exception of this package everywhere (:mod:`.errors`).

Use::

    SCHEMA = Schema(application_id=…, version=1, statements=("CREATE TABLE …",))
    connection, identity = opening.open_database(path, SCHEMA, timeout=5.0)
    ...
    if identity_of(path) != identity:  # the file at this path is another one (or gone): open anew
        connection.close()
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        if errors.is_busy(error): ...  # wait a little and try again, until a deadline
        raise errors.translate(error, path) from error

Never open the file by other means while a connection to it exists: closing any file descriptor of it drops the locks of
the whole process (https://www.sqlite.org/howtocorrupt.html, section 2.2). Close connections before a fork; what a child
inherits nevertheless goes to :func:`.opening.leak`.
"""

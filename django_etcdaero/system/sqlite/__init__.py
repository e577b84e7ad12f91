"""The rules by which every SQLite file of this package is opened, in one place.

* A file belongs to the user that runs the process and nobody else may read it: mode 0600, its ``-wal`` and ``-shm``
  too, missing parent directories 0700. Another owner is refused: whoever owns the file can read and forge its content
  (:mod:`.path`).
* It lives on a local file system. WAL mode coordinates processes through shared memory, which does not work across
  hosts (https://www.sqlite.org/wal.html, "Disadvantages"), and network file systems are known for broken locks.
* It carries the application id and the version of its schema, so that a foreign file is never written to
  (:class:`.opening.Schema`), and is made under another name (:mod:`.creation`).
* It may be deleted or replaced at any time; whoever holds a connection compares what the path leads to at each call
  (:func:`.path.identity_of`, :mod:`.kept_log`).
* It can be read when the disk is full (:mod:`.without_room`).
* An error of SQLite becomes the same exception of this package everywhere (:mod:`.errors`).

Never open the file by other means while a connection to it exists: closing any file descriptor of it drops the locks of
the whole process (https://www.sqlite.org/howtocorrupt.html, section 2.2). Close connections before a fork; what a child
inherits nevertheless goes to :func:`.opening.leak`.
"""

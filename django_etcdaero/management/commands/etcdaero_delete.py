"""``manage.py etcdaero_delete``: delete a key, or all keys that begin so after telling how many they are."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_etcdaero.inspection.key_changes import delete_if
from django_etcdaero.inspection.key_owners import PACKAGE_KEYS, belongs_to_package
from django_etcdaero.inspection.key_text import key_text
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.ops import delete, mod_revision
from django_etcdaero.keyvalue.values import DeleteResult
from django_etcdaero.management.acting import add_unasked
from django_etcdaero.management.key_command import KEYS, KeyCommand, add_force, own_key


class Command(KeyCommand):
    help = (
        f"Delete a key, or with --prefix all keys that begin so. {KEYS} Without --yes, --prefix only tells how many "
        "there are. Exit code 1: there is no such key, or it was refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", metavar="KEY")
        parser.add_argument("--prefix", action="store_true", help="all keys that begin with KEY")
        add_unasked(parser, "with --prefix: do it")
        parser.add_argument(
            "--if-revision", type=int, metavar="N", help="only if the key was changed last with revision N"
        )
        add_force(parser)
        super().add_arguments(parser)

    def act_on(self, options: dict[str, Any]) -> None:
        key = own_key(options["key"], "KEY" if not options["prefix"] else "PREFIX")
        if options["if_revision"] is not None and (options["prefix"] or options["if_revision"] < 1):
            raise CommandError("--if-revision is the positive revision of one key", returncode=2)
        if options["prefix"]:
            self._delete_all(key, options)
        else:
            self.check_owner(key, options)
            self._delete_one(key, options)

    def _delete_one(self, key: bytes, options: dict[str, Any]) -> None:
        seen = options["if_revision"]
        if seen is None:
            done = self.change_stores(lambda: self.client(options).delete(key))
            if not done.deleted:
                raise CommandError(f"no such key: {options['key']}")
            revision = done.revision
        else:
            answer = self.change_stores(lambda: delete_if(self.client(options), key, seen=seen))
            if not answer.done:
                there = answer.there
                said = "there is no such key" if there is None else f"it is at revision {there.mod_revision}"
                raise CommandError(f"{options['key']} was not deleted: {said}")
            revision = answer.revision
        self._tell(1, revision, options)

    def _delete_all(self, beginning: bytes, options: dict[str, Any]) -> None:
        if not beginning and not options["force"]:
            raise CommandError("PREFIX is empty, so these are all keys of the alias; --force deletes all of them")
        count, own = self.ask_stores(lambda: _look(self.client(options), beginning))
        if own is not None and not options["force"]:
            raise CommandError(
                f"among the keys that begin with {options['key']!r} is {key_text(own)}, which belongs to the package "
                f"itself; --force deletes all of them"
            )
        if not count:
            raise CommandError(f"no key begins with {options['key']!r}")
        if options["interactive"]:
            if options["json"]:
                self.print_json({"would_delete": count})
            else:
                keys, them = ("key begins", "it") if count == 1 else ("keys begin", "them")
                self.stdout.write(f"{count} {keys} with {options['key']!r}; --yes deletes {them}")
            return
        done = self.change_stores(lambda: _delete(self.client(options), beginning, options))
        self._tell(done[0], done[1], options)

    def _tell(self, count: int, revision: int, options: dict[str, Any]) -> None:
        if options["json"]:
            self.print_json({"deleted": count, "revision": revision})
        else:
            what = "1 key" if count == 1 else f"{count} keys"
            self.stdout.write(self.style.SUCCESS(f"{what} deleted with revision {revision}"))


def _look(kv: KV, beginning: bytes) -> tuple[int, bytes | None]:
    """Return how many keys begin so, and one of them that is the package's."""
    count = kv.range(beginning, prefix=True, count_only=True).count
    if belongs_to_package(beginning):
        return count, beginning
    for reserved in PACKAGE_KEYS:
        if reserved.startswith(beginning):
            found = kv.range(reserved, prefix=True, limit=1, keys_only=True).kvs
            if found:
                return count, found[0].key
    return count, None


def _delete(kv: KV, beginning: bytes, options: dict[str, Any]) -> tuple[int, int]:
    """Delete them in one step, unless a key of the package has come to be among them."""
    own = [] if options["force"] else [each for each in PACKAGE_KEYS if each.startswith(beginning)]
    absent = [mod_revision(each, prefix=True) == 0 for each in own]
    answer = kv.txn().when(*absent).then(delete(beginning, prefix=True, everything=True)).commit()
    if not answer.succeeded:
        raise CommandError("a key of the package itself has come to be among them; nothing was deleted")
    (done,) = answer.responses
    assert isinstance(done, DeleteResult)
    return done.deleted, answer.revision

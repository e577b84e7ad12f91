"""Publishing a dataset: load it under the lock, write what is new, announce it in one guarded transaction.

The protocol, in order (key names: :mod:`django_etcdaero.datasets.layout`); the code of each stage has its number:

1.  **Take the lock and read** (:mod:`.refresh`): take ``lock``, read the announcement, ``pin``, ``checked``,
    ``attempt`` and ``request``. Not due: stop.
2.  **Load and validate.** Call the dataset's ``load()``; validators see the rows that are current beside the new ones.
    Code of the project runs in an empty context: rows must not depend on who happens to refresh, such as on the
    language of a request.
3.  **Store what is missing** (:mod:`.storing`): encode, and look which blocks exist. Touch those that exist but are not
    part of what is announced (the new generation keeps a slower publisher's clean-up from letting them expire), write
    those that do not, then the pages and the root. Nothing had to be written and the root is the one announced: note
    that in ``checked`` and stop.
4.  **Announce** (:mod:`.announcing`, :mod:`.commit`). Load the version as readers will. Leave a note in ``retired`` of
    what is about to be made permanent, and make permanent what is not. Then, if the announcement, ``pin`` and
    ``checked`` still have the revisions read in stage 1, put the announcement, ``history/<version>`` and ``checked``,
    drop ``attempt`` and the note, move the oldest history entries to ``retired``. If the comparison fails, nothing has
    happened for readers: the refresh was fenced off. A lock that was lost on the way is no obstacle: what guards the
    announcement is that those three have not moved.
5.  **Expire** (:mod:`.expiry`): give the blocks that only retired versions name a time to live. Their generations were
    read before the announcement, so a block that a later publisher took into use meanwhile (and thereby touched) is
    left alone.

From the beginning of stage 2 until stage 4 is about to announce, the refresh may be given up by another thread: because
``load_timeout`` is over, or because the process is to end (:mod:`.permission`).

A process may be killed between any two of these steps: what is written before the announcement is found and used by the
next refresh or vanishes, what is left of stage 5 is done by it.
"""

from __future__ import annotations

from django_etcdaero.datasets.state.project import tell_of_other_project

from .change_load import publish_changes
from .full_load import publish_all
from .publishing import Published, Publishing


class Publication(Publishing):
    """Stages 2 to 5 for one dataset, once."""

    def run(self) -> Published:
        """Load and publish. Raises what sources and stores raise, ``Fenced``, ``CorruptBlock``, and the refusal if the
        permission was withdrawn."""
        tell_of_other_project(self.dataset, self.stores, self.state.current)
        self.refuse_load_in_vain()
        return publish_changes(self) or publish_all(self)

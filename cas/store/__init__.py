"""The store: objects and trees on this machine, named by what they hold.

``layout`` where things lie · ``staging`` bytes on their way in · ``intake`` local bytes and files ·
``objects`` proved bytes get names · ``trees`` directories of them · ``mend`` damaged ones made
whole · ``turn`` one download of a tree at a time · ``roots`` who needs what · ``gc`` removes the
rest · ``verify`` reads it back · ``seal`` tables that end in their sum · ``index`` a hint that
makes checks quick · ``recipes`` hints of what recipes made.

Objects and trees are made under temporary names, synced, and named in whole; after that they
never change. Readers take no mutex, two writers of one thing do no harm, only gc removes.
"""

from cas.store.gc import GRACE, Collected, collect
from cas.store.intake import add_bytes, add_file
from cas.store.layout import Store, open_store
from cas.store.mend import mend, recover
from cas.store.objects import (
    Publisher,
    Vanished,
    mark_bad,
    quarantine,
    read_listing,
    read_object,
    usable,
)
from cas.store.recipes import recall, remember
from cas.store.roots import (
    Call,
    Root,
    announce,
    calls_under_way,
    end,
    read_root,
    root_ids,
    settle,
    shared_gc_mutex,
)
from cas.store.sidecar import LOCAL, Sidecar, only_copy, read_sidecar
from cas.store.staging import Staged, Staging
from cas.store.trees import (
    build,
    check_twins,
    make_durable,
    note_use,
    rebuilt_listing,
    standing,
    walk,
)
from cas.store.turn import one_download
from cas.store.verify import Bad, Level, Verified, verify

__all__ = [
    "GRACE", "LOCAL", "Bad", "Call", "Collected", "Level", "Publisher", "Root", "Sidecar", "Staged",
    "Staging", "Store", "Vanished", "Verified", "add_bytes", "add_file", "announce", "build",
    "calls_under_way", "check_twins", "collect", "end", "make_durable", "mark_bad", "mend",
    "note_use", "one_download", "only_copy", "open_store", "quarantine", "read_listing",
    "read_object", "read_root", "read_sidecar", "rebuilt_listing", "recall", "recover", "remember",
    "root_ids", "settle", "shared_gc_mutex", "standing", "usable", "verify", "walk",
]  # fmt: skip

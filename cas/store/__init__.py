"""The store: objects and trees on this machine, named by what they hold.

``layout`` where things lie · ``staging`` bytes on their way in · ``objects`` proved bytes get
names · ``trees`` directories of them · ``roots`` who needs what · ``gc`` removes the rest ·
``verify`` reads it back · ``index`` a hint that makes checks quick.

Objects and trees are made under temporary names, synced, and named in whole; after that they
never change. Readers take no mutex, two writers of one thing do no harm, only gc removes.
"""

from cas.store.gc import GRACE, Collected, collect
from cas.store.layout import Store, open_store
from cas.store.objects import (
    Publisher,
    Vanished,
    add_bytes,
    add_file,
    quarantine,
    read_listing,
    read_object,
    usable,
)
from cas.store.roots import Call, Root, announce, end, read_root, root_ids, settle, shared_gc_mutex
from cas.store.staging import Staged, Staging
from cas.store.trees import (
    LOCAL,
    Sidecar,
    build,
    mark_bad,
    mend,
    note_use,
    read_sidecar,
    rebuilt_listing,
    standing,
    walk,
)
from cas.store.verify import Bad, Level, Verified, verify

__all__ = [
    "GRACE", "LOCAL", "Bad", "Call", "Collected", "Level", "Publisher", "Root", "Sidecar", "Staged",
    "Staging", "Store", "Vanished", "Verified", "add_bytes", "add_file", "announce", "build",
    "collect", "end", "mark_bad", "mend", "note_use", "open_store", "quarantine", "read_listing",
    "read_object", "read_root", "read_sidecar", "rebuilt_listing", "root_ids", "settle",
    "shared_gc_mutex", "standing", "usable", "verify", "walk",
]  # fmt: skip

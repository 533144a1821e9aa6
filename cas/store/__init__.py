"""The store: objects and trees on this machine, named by what they hold.

``layout`` where things lie · ``staging`` bytes on their way in · ``intake`` local bytes and files ·
``objects`` proved bytes get names · ``reading`` small ones read · ``trees`` directories of them ·
``whole`` whether one stands · ``turn`` one download of a tree at a time · ``damage`` what was found
bad · ``mend`` damaged ones made whole · ``roots`` who needs what · ``gc`` removes the rest ·
``drop`` one tree · ``verify`` reads it back · ``seal`` tables that end in their sum · ``index`` a
hint that makes checks quick · ``recipes`` hints of what recipes made · ``shared`` one of several
users · ``trust`` what others put there.

Objects and trees are made under temporary names, synced, and named in whole; after that they
never change. Readers take no mutex, two writers of one thing do no harm, only gc removes.
"""

from cas.store.damage import Spoiled, mark_bad, quarantine
from cas.store.drop import drop_tree
from cas.store.gc import GRACE, Collected, collect
from cas.store.intake import add_bytes, add_file
from cas.store.layout import Store, open_store
from cas.store.mend import mend, recover
from cas.store.objects import Publisher, usable
from cas.store.reading import Vanished, read_listing, read_object
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
from cas.store.sidecar import LOCAL, Sidecar, note_remote, only_copy, read_sidecar, remotes_of
from cas.store.staging import Staged, Staging
from cas.store.trees import build, check_twins, make_durable, rebuilt_listing
from cas.store.turn import one_download
from cas.store.verify import Bad, Level, Verified, verify
from cas.store.whole import note_use, standing, walk

__all__ = [
    "GRACE", "LOCAL", "Bad", "Call", "Collected", "Level", "Publisher", "Root", "Sidecar",
    "Spoiled", "Staged", "Staging", "Store", "Vanished", "Verified", "add_bytes", "add_file",
    "announce", "build", "calls_under_way", "check_twins", "collect", "drop_tree", "end",
    "make_durable", "mark_bad", "mend", "note_remote", "note_use", "one_download", "only_copy",
    "open_store", "quarantine", "read_listing", "read_object", "read_root", "read_sidecar",
    "rebuilt_listing", "recall", "recover", "remember", "remotes_of", "root_ids", "settle",
    "shared_gc_mutex", "standing", "usable", "verify", "walk",
]  # fmt: skip

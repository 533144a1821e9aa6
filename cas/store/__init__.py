"""The store: objects and trees on this machine, named by what they hold.

``layout`` where things lie · ``staging`` bytes on their way in · ``intake`` local bytes and files
· ``many`` of them, by all cores · ``objects`` proved bytes get names · ``reading`` small ones read
· ``trees`` directories of them · ``durable`` their names · ``whole`` whether one stands · ``turn``
one download of a tree at a time · ``damage`` what was found bad · ``mend`` damaged ones made whole
· ``roots`` who needs what · ``gc`` removes the rest · ``drop`` one tree · ``verify`` reads it back
(``reread`` its bytes) · ``seal`` tables that end in their sum · ``index`` a hint that makes checks
quick · ``recipes`` hints of what recipes made · ``shared`` one of several users · ``trust`` what
others put there.

Objects and trees are made under temporary names, synced, and named in whole; after that they
never change. Readers take no mutex, two writers of one thing do no harm, only gc removes.
"""

from cas.lazy import open_rooms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cas.store.damage import Spoiled, mark_bad, quarantine
    from cas.store.drop import drop_tree
    from cas.store.durable import make_durable
    from cas.store.gc import GRACE, Collected, collect
    from cas.store.intake import add_bytes, add_file
    from cas.store.layout import Store, open_store
    from cas.store.many import add_files
    from cas.store.mend import mend, recover
    from cas.store.objects import Publisher, usable
    from cas.store.reading import Vanished, read_listing, read_object
    from cas.store.recipes import noted, recall, remember
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
    from cas.store.trees import build, check_twins, rebuilt_listing
    from cas.store.turn import one_download
    from cas.store.verify import Bad, Level, Verified, verify
    from cas.store.whole import note_use, standing, walk

__all__ = [
    "GRACE", "LOCAL", "Bad", "Call", "Collected", "Level", "Publisher", "Root", "Sidecar",
    "Spoiled", "Staged", "Staging", "Store", "Vanished", "Verified", "add_bytes", "add_file",
    "add_files", "announce", "build", "calls_under_way", "check_twins", "collect", "drop_tree",
    "end", "make_durable", "mark_bad", "mend", "note_remote", "note_use", "noted",
    "one_download", "only_copy", "open_store", "quarantine", "read_listing", "read_object",
    "read_root", "read_sidecar", "rebuilt_listing", "recall", "recover", "remember",
    "remotes_of", "root_ids", "settle", "shared_gc_mutex", "standing", "usable", "verify",
    "walk",
]  # fmt: skip

open_rooms(
    __name__,
    damage="Spoiled mark_bad quarantine",
    drop="drop_tree",
    durable="make_durable",
    gc="GRACE Collected collect",
    intake="add_bytes add_file",
    layout="Store open_store",
    many="add_files",
    mend="mend recover",
    objects="Publisher usable",
    reading="Vanished read_listing read_object",
    recipes="noted recall remember",
    roots="Call Root announce calls_under_way end read_root root_ids settle shared_gc_mutex",
    sidecar="LOCAL Sidecar note_remote only_copy read_sidecar remotes_of",
    staging="Staged Staging",
    trees="build check_twins rebuilt_listing",
    turn="one_download",
    verify="Bad Level Verified verify",
    whole="note_use standing walk",
)

"""Index: packs of records in the user's cache directory, made and refreshed by themselves.

Files are the record; this only makes them fast, and may be deleted at any time. One directory
a directory of experiments, named by the SHA-256 of its real path::

    <cache>/experiments/<32 hex>/manifest        which files are in which pack (``manifest``)
                                <16 hex>.runs    Arrow IPC, read by mmap (``pack``)
                                <16 hex>.rows
                                mutex            one refreshes, the others wait for it

A pack is never changed: what is new is written and synced under a new name, then the manifest
is replaced, then what no manifest names is removed. So a reader needs no mutex; one whose pack
went before it was opened begins again. A file is known by its size and mtime; above ``MANY``
files by its inode, as a ``stat`` of each would cost more than the query, and by them where
that differs. Where nothing can be kept (a cache that is read-only or full), and for a few
files, the records are read as they are.
"""

from __future__ import annotations

from .manifest import Skipped
from .refresh import Found, find_packs, read_packs

__all__ = ["Found", "Skipped", "find_packs", "read_packs"]

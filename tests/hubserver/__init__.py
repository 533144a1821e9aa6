"""A Hub for tests: a real HTTP server over repositories that it makes.

::

    with Hub() as hub:
        repo = hub.repo("roneneldan/TinyStories", kind="dataset")
        first = repo.commit({"README.md": b"...", "data/train.txt": Path("...")}, "one")
        run(..., env={"HF_ENDPOINT": hub.endpoint})
        assert hub.count(kind="resolve") == 2

It needs nothing but the standard library. ``python -m tests.hubserver --help`` runs it in a
process of its own.
"""

from .faults import Fault, Hit
from .hub import Hub
from .repo import Commit, Repo, random_pieces
from .wire import Record

__all__ = ["Commit", "Fault", "Hit", "Hub", "Record", "Repo", "random_pieces"]

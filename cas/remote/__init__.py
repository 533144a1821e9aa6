"""Remotes: buckets and directories that a team shares, holding what a store holds, by hash.

::

    VERSION               "cas-remote 1"
    objects/ab/<62 hex>   objects; listings are objects too
    experiments/<file>    records of experiments, and their events in ``.events/``

Other keys are not touched, and nothing is deleted here. An object's name is the SHA-256 of
its bytes, so what a remote says is never believed: whoever fetches hashes. A tree's listing
is put last, so one that is there means that the whole tree is. This room knows buckets and
file systems; it knows no store and no lockfile.

``place`` checked URLs · ``remote`` what is asked of every kind · ``bucket`` s3, gs, az by obstore ·
``aws`` the usual settings of S3 · ``directory`` file:// · ``other`` what fsspec reaches ·
``kinds`` what each of these can do · ``flow`` bytes proved and bounded on their way ·
``busy`` a server that makes us wait · ``crew`` many transfers at a time · ``faults`` what goes
wrong, as errors of ours
"""

from __future__ import annotations

from .crew import each
from .faults import Stopped
from .kinds import Sink
from .place import Place, check_remote_name, parse_place
from .remote import Remote, open_remote

__all__ = [
    "Place",
    "Remote",
    "Sink",
    "Stopped",
    "check_remote_name",
    "each",
    "open_remote",
    "parse_place",
]

"""The Hub: what a name means there now, and the bytes.

The only room that knows huggingface_hub, and it knows nothing of the store or the lockfile.
``resolve`` turns a repository and a revision into a ``Snapshot``, one commit with its files;
``fetch`` and ``fetch_many`` bring their bytes into a ``Sink``. Every request has timeouts
(``Limits``), is tried again where that may help, carries the user's token to the endpoint
only, and fails as one of our errors.

Nothing the Hub says is trusted: names, sizes and hashes are checked here, sizes enforced
while bytes come. The hash of the bytes is for the sink's owner to compare.
"""

from __future__ import annotations

from .cache import cached
from .faults import ConnectionLost, Gated, NotOnHub, Stopped
from .line import LIMITS, Limits
from .snapshot import KINDS, HubFile, Kind, Snapshot
from .stream import Sink, fetch, fetch_many
from .tree import kinds_of, resolve

__all__ = [
    "KINDS",
    "LIMITS",
    "ConnectionLost",
    "Gated",
    "HubFile",
    "Kind",
    "Limits",
    "NotOnHub",
    "Sink",
    "Snapshot",
    "Stopped",
    "cached",
    "fetch",
    "fetch_many",
    "kinds_of",
    "resolve",
]

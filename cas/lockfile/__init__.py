"""assets.lock: which assets a project has, and exactly which bytes each one is.

Sorted by name, one ``[[asset]]`` block each, the request echoed. No times, paths of a
machine, tokens or sum of the whole. Parsing checks everything and says where; after it no
room checks again. A reader refuses a greater ``version`` and keeps keys that it does not
know, those of a request too. Writing is deterministic, so a diff shows only what moved.

``model`` the values · ``reader`` text → values · ``tables`` TOML within limits, and its text
"""

from cas.lockfile.model import FIRST_LINE, VERSION, Asset, Lockfile
from cas.lockfile.reader import Conflict, has_conflict, parse, sides
from cas.lockfile.tables import check_values, load_toml, toml, toml_key, without_long_strings

__all__ = [
    "FIRST_LINE",
    "VERSION",
    "Asset",
    "Conflict",
    "Lockfile",
    "check_values",
    "has_conflict",
    "load_toml",
    "parse",
    "sides",
    "toml",
    "toml_key",
    "without_long_strings",
]

"""The resolver: from what is asked for to what is locked. Only this room writes assets.lock.

``pin`` one request → one pin · ``lock`` all requests → the lock · ``add`` a new request with its
pin and bytes · ``remove`` all three · ``adopt`` files that lie under ``assets/`` already ·
``taken`` what an experiment made · ``write`` the two files · ``mark`` an asset bad
"""

from cas.resolver.add import add
from cas.resolver.adopt import Adopted, adopt
from cas.resolver.lock import LockOptions, check, lock, merge, outdated
from cas.resolver.mark import mark_bad
from cas.resolver.meaning import AddOptions
from cas.resolver.pin import Move
from cas.resolver.remove import remove
from cas.resolver.taken import add_from

__all__ = [
    "AddOptions",
    "Adopted",
    "LockOptions",
    "Move",
    "add",
    "add_from",
    "adopt",
    "check",
    "lock",
    "mark_bad",
    "merge",
    "outdated",
    "remove",
]

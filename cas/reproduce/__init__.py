"""Reproduce: what an experiment used, had again: its trees, its code, its lock, its packages.

``trees`` brings the trees that a record names · ``views`` links them beside the current ones ·
``worktree`` makes a directory in which the experiment can be run again
"""

from cas.reproduce.trees import Had
from cas.reproduce.views import checkout
from cas.reproduce.worktree import Reproduced, reproduce

__all__ = ["Had", "Reproduced", "checkout", "reproduce"]

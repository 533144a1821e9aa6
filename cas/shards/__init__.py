"""Token shards: planned, built by whoever is there, and put together to one tree.

Which shards there are is decided by the files alone, so the tree is the same for any number
of workers. What a worker finished is found again by its key: a killed build goes on, and a
changed file is the only one that is encoded again.

``plan`` what is to be made · ``tree`` what loaders ask for · ``make`` it where it is not there ·
``build`` all of a plan · ``work`` one shard. Who finds shards that are there loads nothing of
the last three.
"""

from cas.shards.plan import TokensPlan, plan_tokens
from cas.shards.tree import tokens_tree

__all__ = ["TokensPlan", "plan_tokens", "tokens_tree"]

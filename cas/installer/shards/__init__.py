"""Token shards: planned, built by whoever is there, and put together to one tree.

Which shards there are is decided by the files alone, so the tree is the same for any number
of workers. What a worker finished is found again by its key: a killed build goes on, and a
changed file is the only one that is encoded again.

``work`` one shard · ``build`` all of a plan · ``tree`` what loaders ask for
"""

from cas.installer.shards.build import ShardsMade, TokensPlan, build_tokens, plan_tokens
from cas.installer.shards.tree import tokens_tree

__all__ = ["ShardsMade", "TokensPlan", "build_tokens", "plan_tokens", "tokens_tree"]

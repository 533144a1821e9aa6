"""Training data: batches of a locked dataset's tokens, in an order that can be repeated.

``load`` from names to loaders · ``tokenizer`` which one is meant, and which asset it is ·
``documents`` which documents are given · ``gather`` their tokens, from mapped shards · ``rows``
packed and padded examples · ``order`` the permutation of an epoch · ``loader`` batches, epochs,
ranks and where a pass is. The only room that knows torch.
"""

from __future__ import annotations

from cas.loaders.load import load_training_data
from cas.loaders.loader import Loader
from cas.loaders.order import Order
from cas.loaders.rows import Rows

__all__ = ["Loader", "Order", "Rows", "load_training_data"]

"""One shard: documents in, the bytes of its three files out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from cas.errors import CasError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cas.recipes.tokens.engine import Encoder

__all__ = ["Differs", "Written", "write_shard"]

_BATCH = 1 << 20  # characters encoded at once
_SAMPLE = 256  # of so many documents one is encoded a second time
_FIRST = 4  # documents of each shard that are


class Differs(CasError):
    """The quick way gave other ids than ``tokenizers``; the shard has to be begun again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a shard holds, beside its tokens."""

    tokens: int
    documents: int
    size: int
    """UTF-8 bytes of the documents"""
    ends: bytes
    """The file ``.index``."""
    hashes: bytes
    """The file ``.hash``."""


def write_shard(texts: Iterable[str], encoder: Encoder, write: Callable[[bytes], None]) -> Written:
    """Encode *texts*; *write* is given the bytes of the file ``.ds``, part after part.

    A sample, chosen by hash, is encoded by ``tokenizers`` too.

    Raises:
        Differs: the sample's ids are not the same.
    """
    import numpy as np

    tokens = documents = size = 0
    ends: list[bytes] = []
    hashes = bytearray()
    for batch in _batches(texts):
        begun = len(hashes)
        for text in batch:
            data = text.encode()
            size += len(data)
            hashes += hashlib.sha256(data).digest()[:8]
        ids, last = encoder.encode(batch)
        if encoder.quick:
            sample = [
                n
                for n in range(len(batch))
                if documents + n < _FIRST or not hashes[begun + 8 * n] % _SAMPLE
            ]
            again, places = encoder.plainly([batch[n] for n in sample])
            found = [ids[last[n - 1] if n else 0 : last[n]] for n in sample]
            same = np.concatenate([*found, ids[:0]])
            if not np.array_equal(same, again) or len(places) != len(sample):
                raise Differs("the quick way of encoding gave other ids than tokenizers")
        write(ids.tobytes())
        ends.append((last + tokens).astype("<u8").tobytes())
        tokens += len(ids)
        documents += len(batch)
    return Written(
        tokens=tokens,
        documents=documents,
        size=size,
        ends=b"".join(ends),
        hashes=bytes(hashes),
    )


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    texts = iter(texts)
    for text in texts:
        batch, size = [text], len(text)
        while size < _BATCH and (more := list(islice(texts, 64))):
            batch += more
            size += sum(map(len, more))
        yield batch

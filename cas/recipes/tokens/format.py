"""The format of token shards, and how they are read.

::

    <split>/NNNNN.ds           little-endian uint16 (uint32 where an id is above 65535): the
                               tokens of all documents of the shard, EOS after each
    <split>/NNNNN.ds.index     uint64: where each document ends (exclusive, in tokens)
    <split>/NNNNN.ds.hash      uint64: the first 8 bytes of the SHA-256 of its UTF-8 text
    stats/<split>.tokens.u64   uint64[vocab_size]: uses of each id; the EOS that was appended
                               does not count
    stats/<split>.lengths.u64  uint64[n, 2]: (tokens of a document with EOS, how many), rising
    meta.json                  canonical JSON, see ``Meta``

Everything is little-endian, without headers: ``numpy.memmap`` opens it, and so do nanoGPT,
datatrove and nanotron. Nothing in it tells times, versions of libraries, paths or workers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cas.digest import Digest, parse_digest
from cas.errors import RecipeError
from cas.recipes.semantic import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LAYOUT", "Meta", "Shard", "ShardMeta", "TokenTree", "dtype_of", "open_tokens"]

Bytes = bytes  # within ``Meta`` the name is that of a field of the format

LAYOUT = 1
"""Version of the layout; a greater one is refused."""

_NARROW = 65535  # the greatest id that uint16 holds
_DTYPES = {"uint16": "<u2", "uint32": "<u4"}
_DAMAGED = "cas verify --repair"


def dtype_of(vocab_size: int) -> str:
    """Return ``uint16`` or ``uint32``: what holds the ids below *vocab_size*.

    Raises:
        RecipeError: neither does.
    """
    if vocab_size - 1 <= _NARROW:
        return "uint16"
    if vocab_size - 1 <= 2**32 - 1:
        return "uint32"
    message = f"expected ids up to {2**32 - 1}, which uint32 holds, found {vocab_size - 1}"
    raise RecipeError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMeta:
    """One shard, as ``meta.json`` describes it."""

    text: Digest
    """Which text it is: the hash of its file's SHA-256, the stretch of it, column, document
    unit and ``errors``. The same for every tokenizer, so it orders shards for subsets."""
    tokens: int
    """with EOS"""
    documents: int
    bytes: int
    """UTF-8 bytes of the documents"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What ``meta.json`` says.

    Its keys are ``version, dtype, eos, vocab_size, tokenizer, text, shards, tokens, documents,
    bytes``, the last four in all, and ``splits``: split → the shards' own.
    """

    dtype: str
    """``uint16`` or ``uint32``"""
    eos: int
    vocab_size: int
    """One more than the greatest id."""
    tokenizer: Digest
    """Semantic hash of the tokenizer."""
    text: Digest
    """Hash of the ``text`` of all shards."""
    splits: Mapping[str, tuple[ShardMeta, ...]]

    @property
    def shards(self) -> int:
        """Shards in all."""
        return len(self._all())

    @property
    def tokens(self) -> int:
        """Tokens in all, with EOS."""
        return sum(shard.tokens for shard in self._all())

    @property
    def documents(self) -> int:
        """Documents in all."""
        return sum(shard.documents for shard in self._all())

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the documents in all."""
        return sum(shard.bytes for shard in self._all())

    def data(self) -> Bytes:
        """Return the bytes of ``meta.json``."""
        table = {
            "version": LAYOUT,
            "dtype": self.dtype,
            "eos": self.eos,
            "vocab_size": self.vocab_size,
            "tokenizer": self.tokenizer,
            "text": self.text,
            "shards": self.shards,
            "tokens": self.tokens,
            "documents": self.documents,
            "bytes": self.bytes,
            "splits": {
                split: [
                    {"text": s.text, "tokens": s.tokens, "documents": s.documents, "bytes": s.bytes}
                    for s in shards
                ]
                for split, shards in self.splits.items()
            },
        }
        return canonical(table) + b"\n"

    @classmethod
    def parse(cls, data: Bytes) -> Meta:
        """Return what ``meta.json`` says; raise ValueError, TypeError or LookupError."""
        table = json.loads(data)
        if table["version"] > LAYOUT:
            message = f"expected version {LAYOUT}, found {table['version']}"
            raise ValueError(message)
        meta = cls(
            dtype=table["dtype"],
            eos=_count(table, "eos"),
            vocab_size=_count(table, "vocab_size"),
            tokenizer=parse_digest(table["tokenizer"]),
            text=parse_digest(table["text"]),
            splits={
                split: tuple(
                    ShardMeta(
                        text=parse_digest(shard["text"]),
                        tokens=_count(shard, "tokens"),
                        documents=_count(shard, "documents"),
                        bytes=_count(shard, "bytes"),
                    )
                    for shard in shards
                )
                for split, shards in table["splits"].items()
            },
        )
        if meta.dtype not in _DTYPES:
            message = f"expected dtype uint16 or uint32, found {meta.dtype!r}"
            raise ValueError(message)
        for name in ("shards", "tokens", "documents", "bytes"):
            if table[name] != getattr(meta, name):
                message = f"{name}: expected {getattr(meta, name)}, the sum, found {table[name]}"
                raise ValueError(message)
        return meta

    def _all(self) -> list[ShardMeta]:
        return [shard for shards in self.splits.values() for shard in shards]


def _count(table: Mapping[str, Any], key: str) -> int:
    value = table[key]
    if type(value) is not int or value < 0:
        message = f"{key}: expected a whole number, found {value!r:.60}"
        raise ValueError(message)
    return value


class Shard(NamedTuple):
    """The tokens of some documents, mapped from disk, read-only."""

    tokens: NDArray[np.uint16] | NDArray[np.uint32]
    """uint16 or uint32 [tokens]"""
    ends: NDArray[np.uint64]
    """[documents]: where each ends, exclusive; it begins where the one before ends"""
    hashes: NDArray[np.uint64]
    """[documents]: the first 8 bytes of the SHA-256 of the text, little-endian"""
    meta: ShardMeta


class TokenTree:
    """A tree of token shards. Files are opened when they are asked for."""

    def __init__(self, path: Path, meta: Meta) -> None:
        self.path = path
        self.meta = meta

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits there are, sorted."""
        return tuple(sorted(self.meta.splits))

    def shards(self, split: str) -> list[Shard]:
        """Return the shards of a split, mapped.

        Raises:
            RecipeError: no such split; or a file is missing, short or inconsistent (named).
        """
        return [
            self._shard(f"{split}/{number:05d}.ds", meta)
            for number, meta in enumerate(self._split(split))
        ]

    def token_counts(self, split: str) -> NDArray[np.uint64]:
        """Return uint64 [vocab_size]: uses of each id, the appended EOS not counted."""
        shards = self._split(split)
        name = f"stats/{split}.tokens.u64"
        counts: NDArray[np.uint64] = self._map(name, "<u8", self.meta.vocab_size)
        expected = sum(shard.tokens - shard.documents for shard in shards)
        if int(counts.sum()) != expected:
            raise _damaged(name, f"expected {expected} tokens in all, found {counts.sum()}")
        return counts

    def length_counts(self, split: str) -> NDArray[np.uint64]:
        """Return uint64 [n, 2]: (tokens of a document with EOS, how many), lengths rising."""
        shards = self._split(split)
        name = f"stats/{split}.lengths.u64"
        counts: NDArray[np.uint64] = self._map(name, "<u8", None).reshape(-1, 2)
        expected = sum(shard.documents for shard in shards)
        if int(counts[:, 1].sum()) != expected:
            raise _damaged(name, f"expected {expected} documents, found {counts[:, 1].sum()}")
        return counts

    def _split(self, split: str) -> tuple[ShardMeta, ...]:
        try:
            return self.meta.splits[split]
        except KeyError:
            found = ", ".join(map(repr, self.splits)) or "none"
            raise RecipeError(f"no split {split!r} in these shards, found {found}") from None

    def _shard(self, name: str, meta: ShardMeta) -> Shard:
        shard = Shard(
            self._map(name, _DTYPES[self.meta.dtype], meta.tokens),
            self._map(f"{name}.index", "<u8", meta.documents),
            self._map(f"{name}.hash", "<u8", meta.documents),
            meta,
        )
        last = int(shard.ends[-1]) if meta.documents else 0
        if last != meta.tokens:
            where = f"expected the last document to end at token {meta.tokens}, found {last}"
            raise _damaged(f"{name}.index", where)
        if not (shard.ends[1:] > shard.ends[:-1]).all():
            raise _damaged(f"{name}.index", "expected each document to end after the one before")
        return shard

    def _map(self, name: str, dtype: str, count: int | None) -> Any:
        """Return a file as an array of *count* values (None: as many as it holds)."""
        import numpy as np

        place = self.path / name
        try:
            size = place.stat().st_size
            width = np.dtype(dtype).itemsize
            wanted = size // (2 * width) * 2 * width if count is None else count * width
            if size != wanted:
                raise _damaged(name, f"expected {wanted} bytes, found {size}")
            if not size:  # which can't be mapped
                return np.zeros(0, dtype)
            return np.memmap(place, dtype, "r")
        except OSError as error:
            raise _damaged(name, f"can't be read: {error.strerror}") from None


def open_tokens(tree: Path) -> TokenTree:
    """Return the token shards in the directory *tree*; only ``meta.json`` is read.

    Raises:
        RecipeError: it holds no token shards, or ``meta.json`` is damaged or of a newer cas.
    """
    try:
        data = (tree / "meta.json").read_bytes()
    except OSError as error:
        message = f"{str(tree)!r} holds no token shards: meta.json: {error.strerror}"
        raise RecipeError(
            message, hint="cas add tokens/NAME --input DATASET --tokenizer TOKENIZER"
        ) from None
    try:
        return TokenTree(tree, Meta.parse(data))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _damaged("meta.json", f"expected what token shards say: {error!r:.160}") from None


def _damaged(name: str, what: str) -> RecipeError:
    return RecipeError(f"{name!r}: {what}", hint=_DAMAGED)

"""One shard, built wherever there is a process: it needs the store, and nothing else.

A finished shard is published at once, as objects and a hint. So a killed build goes on, and
of two processes that build the same shard each gives the same objects.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cas.errors import CasError, IntegrityError, RecipeError, StoreError
from cas.recipes.tokens.engine import Encoder
from cas.recipes.tokens.tokenizer import tokenizer_of
from cas.recipes.tokens.write import Differs, write_shard
from cas.store import (
    Publisher,
    Staging,
    add_bytes,
    open_store,
    read_object,
    recall,
    remember,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cas.digest import Digest
    from cas.recipes.stretches import Stretch
    from cas.store import Staged

__all__ = ["FILES", "ShardJob", "build_shard"]

FILES = {"": "tokens", ".index": "index", ".hash": "hash"}
"""End of the name of a shard's file → what its hint calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """What a worker needs to know of a shard."""

    store: str
    """Root of the store."""
    tree: str
    """Path of the dataset's tree."""
    path: str
    """The file in it."""
    stretch: Stretch | None
    column: str | None
    errors: Literal["strict", "replace"]
    key: Digest
    tokenizer: Digest
    """The object that is the tokenizer.json."""
    eos: int
    anew: bool
    """Build it even where it was built before."""


def build_shard(job: ShardJob) -> bool:
    """Build and publish a shard, unless that was done; say whether ``tokenizers`` disagreed.

    Then the quick way of encoding was given up, and the ids are those of ``tokenizers``.

    Raises:
        RecipeError: the text can't be read.
        StoreError, OSError: the shard can't be written.
    """
    try:
        return _build(job)
    except IntegrityError as error:  # which can't be sent from process to process
        raise StoreError(f"{error}", hint=error.hint) from None


def _build(job: ShardJob) -> bool:
    store = open_store(job.store, create=False)
    if not job.anew and recall(store, job.key) is not None:
        return False
    encoder = _encoder(job.store, job.tokenizer, job.eos)
    staging, publisher = Staging(store), Publisher(store)
    staged = staging.open(f"shard of {job.path!r}")
    disagreed = False
    try:
        try:
            written = write_shard(_documents(job), encoder, staged.write)
        except Differs:
            disagreed = True
            encoder.be_plain()
            staged.restart()
            written = write_shard(_documents(job), encoder, staged.write)
        tokens = _publish(staged, publisher)
        index = add_bytes(store, staging, written.ends, publisher)
        hashes = add_bytes(store, staging, written.hashes, publisher)
        publisher.flush()
    except BaseException:
        staged.abandon(keep=False)
        publisher.give_up()
        raise
    remember(
        store,
        job.key,
        {
            "files": {"tokens": tokens, "index": index, "hash": hashes},
            "tokens": written.tokens,
            "documents": written.documents,
            "bytes": written.size,
        },
    )
    return disagreed


def _publish(staged: Staged, publisher: Publisher) -> Digest:
    sums = staged.finish()
    publisher.add(staged)
    return sums.sha256


def _documents(job: ShardJob) -> Iterator[str]:
    from cas.recipes import documents

    return documents(
        Path(job.tree, job.path),
        job.column,
        name=job.path,
        stretch=job.stretch,
        errors=job.errors,
    )


class _Kept(threading.local):
    """The last encoder of a thread, with its dictionary: two threads can't share one."""

    key: tuple[str, Digest, int] | None = None
    encoder: Encoder


_kept = _Kept()


def _encoder(store: str, tokenizer: Digest, eos: int) -> Encoder:
    key = (store, tokenizer, eos)
    if _kept.key != key:
        data = read_object(open_store(store, create=False), tokenizer)
        try:
            _kept.encoder = Encoder(tokenizer_of(data, eos=eos))
        except CasError:
            raise
        except Exception as error:  # the library raises its errors as Exception itself
            message = f"tokenizers can't read the tokenizer.json: {error}"
            raise RecipeError(message) from error
        _kept.key = key
    return _kept.encoder

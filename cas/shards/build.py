"""All shards of a plan, and what is put beside them."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.crew import Crew, cores
from cas.digest import Digest, hash_bytes
from cas.errors import RecipeError
from cas.listing import Listing
from cas.progress import QUIET
from cas.recipes.tokens import Meta, ShardMeta
from cas.shards.work import FILES, ShardJob, build_shard
from cas.store import Publisher, Staging, Vanished, add_bytes, recall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Executor, Future

    from cas.progress import Progress
    from cas.recipes.stretches import Stretch
    from cas.shards.plan import TokensPlan
    from cas.store import Store

__all__ = ["ShardsMade", "build_tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsMade:
    """A tree of shards; its files are in the store, the tree is not built yet."""

    listing: Listing
    sizes: tuple[int, ...]
    """bytes of each file, in the order of the listing"""
    made_with: str


def build_tokens(
    store: Store,
    plan: TokensPlan,
    tree: Path,
    *,
    progress: Progress = QUIET,
    executor: Executor | None = None,
    subset: Mapping[str, int | None] | None = None,
    anew: bool = False,
) -> ShardsMade:
    """Encode the text of the dataset at *tree*; what was encoded before is not encoded again.

    With *anew* it is.

    *executor* runs the work, as any ``concurrent.futures.Executor`` whose processes see the
    store; None: processes of our own, one a core. *subset* is split → documents: only as many
    shards are built as hold them, in the order of the hashes of their text.

    Raises:
        RecipeError: a file can't be read as text (named), or a split has no documents.
        StoreError, OSError: the store can't be written.
    """
    store.need_writable()
    shards = list(_shards(plan, tree))
    publisher = Publisher(store)
    tokenizer = add_bytes(store, Staging(store), plan.tokenizer.data, publisher)
    publisher.flush()
    work = _Work(store, plan, tree, tokenizer, progress, anew=anew)
    missing = [shard for shard in shards if anew or recall(store, shard.key) is None]
    size = sum(shard.size for shard in missing)
    progress.begin("encode", files=len(missing), size=size)
    try:
        with ExitStack() as stack:
            if executor is None:
                executor = stack.enter_context(Crew(min(cores(), len(missing)) or 1))
            chosen = []
            for split in plan.read:
                of_split = [shard for shard in shards if shard.split == split]
                limit = (subset or {}).get(split)
                chosen += work.build(of_split, executor, limit)
    finally:
        progress.end()
    return work.gather(chosen)


# Shards ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shard:
    split: str
    path: str
    stretch: Stretch | None
    """The part of the file; None: all of it."""
    size: int
    """bytes that are read"""
    text: Digest
    key: Digest


def _shards(plan: TokensPlan, tree: Path) -> Iterator[_Shard]:
    """Yield the shards of a plan: files by their paths, in each its stretches."""
    from cas.recipes.reading import File
    from cas.recipes.stretches import stretches

    for split, files in plan.read.items():
        for path in sorted(files, key=str.encode):
            parts = stretches(File(tree / path, path, plan.recipe.column))
            for part in parts:
                stretch = part if len(parts) > 1 else None
                text = plan.recipe.text_key(path, files[path], stretch)
                key = plan.recipe.shard_key(text, plan.tokenizer)
                yield _Shard(
                    split=split, path=path, stretch=stretch, size=part.size, text=text, key=key
                )


class _Work:
    """The shards of one build."""

    def __init__(
        self,
        store: Store,
        plan: TokensPlan,
        tree: Path,
        tokenizer: Digest,
        progress: Progress,
        *,
        anew: bool,
    ) -> None:
        self.anew = anew
        self.store = store
        self.plan = plan
        self.tree = tree
        self.tokenizer = tokenizer
        self.progress = progress
        self.tables: dict[Digest, dict[str, Any]] = {}

    def build(self, shards: list[_Shard], executor: Executor, limit: int | None) -> list[_Shard]:
        """Build the shards of a split, or as many as hold *limit* documents."""
        if limit is None:
            self._build(shards, executor)
            return shards
        by_text = sorted(shards, key=lambda shard: shard.text)
        chosen: list[_Shard] = []
        documents = 0
        while by_text and documents < limit:
            some, by_text = by_text[: cores()], by_text[cores() :]
            self._build(some, executor)
            for shard in some:
                if documents < limit:
                    chosen.append(shard)
                    documents += self.tables[shard.key]["documents"]
        there = set(chosen)
        return [shard for shard in shards if shard in there]

    def _build(self, shards: list[_Shard], executor: Executor) -> None:
        waiting: dict[Future[bool], _Shard] = {}
        for shard in shards:
            table = None if self.anew else recall(self.store, shard.key)
            if table is None:
                waiting[executor.submit(build_shard, self._job(shard))] = shard
            else:
                self.tables[shard.key] = table
        try:
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    self._finish(waiting.pop(future), disagreed=future.result())
        except BaseException:
            for future in waiting:
                future.cancel()
            raise

    def _finish(self, shard: _Shard, *, disagreed: bool) -> None:
        if disagreed:
            self.progress.note(
                f"{shard.path}: the quick way of encoding gave other ids than tokenizers, "
                "so it was not used; please report this tokenizer"
            )
        table = recall(self.store, shard.key)
        if table is None:
            raise Vanished(f"a shard of {shard.path!r} went while it was used")
        self.tables[shard.key] = table
        self.progress.advance(shard.size, files=1)

    def _job(self, shard: _Shard) -> ShardJob:
        return ShardJob(
            store=self.store.root,
            tree=str(self.tree),
            path=shard.path,
            stretch=shard.stretch,
            column=self.plan.recipe.column,
            errors=self.plan.recipe.errors,
            key=shard.key,
            tokenizer=self.tokenizer,
            eos=self.plan.tokenizer.eos,
            anew=self.anew,
        )

    def gather(self, shards: list[_Shard]) -> ShardsMade:
        """Put the shards' files, their statistics and ``meta.json`` together."""
        import tokenizers

        from cas.recipes.tokens.counts import count_shards

        files: dict[str, Digest] = {}
        own: dict[str, bytes] = {}
        splits: dict[str, tuple[ShardMeta, ...]] = {}
        for split in self.plan.read:
            of_split = [shard for shard in shards if shard.split == split]
            splits[split] = tuple(self._meta(shard) for shard in of_split)
            if not sum(meta.documents for meta in splits[split]):
                paths = ", ".join(map(repr, self.plan.read[split]))
                message = f"expected documents of the split {split!r}, found none in {paths:.300}"
                raise RecipeError(message, hint="--files PATTERN, or --column NAME")
            counted = []
            for number, shard in enumerate(of_split):
                table = self.tables[shard.key]["files"]
                for ending, name in FILES.items():
                    files[f"{split}/{number:05d}.ds{ending}"] = table[name]
                places = (self.store.object(table[name]) for name in ("tokens", "index"))
                tokens, index = map(Path, places)
                counted.append((tokens, index))
            own[f"stats/{split}.tokens.u64"], own[f"stats/{split}.lengths.u64"] = count_shards(
                counted,
                dtype=self.plan.tokenizer.dtype,
                vocab_size=self.plan.tokenizer.vocab_size,
                eos=self.plan.tokenizer.eos,
            )
        texts = [meta.text for metas in splits.values() for meta in metas]
        own["meta.json"] = Meta(
            dtype=self.plan.tokenizer.dtype,
            eos=self.plan.tokenizer.eos,
            vocab_size=self.plan.tokenizer.vocab_size,
            tokenizer=self.plan.tokenizer.semantic,
            text=hash_bytes("".join(f"{text}\n" for text in texts).encode()),
            splits=splits,
        ).data()
        staging, publisher = Staging(self.store), Publisher(self.store)
        for name, data in own.items():
            files[name] = add_bytes(self.store, staging, data, publisher)
        publisher.flush()
        listing = Listing.of(files.items())
        sizes = tuple(Path(self.store.object(e.digest)).stat().st_size for e in listing)
        made_with = f"tokenizers {tokenizers.__version__}"
        return ShardsMade(listing=listing, sizes=sizes, made_with=made_with)

    def _meta(self, shard: _Shard) -> ShardMeta:
        table = self.tables[shard.key]
        return ShardMeta(
            text=shard.text,
            tokens=table["tokens"],
            documents=table["documents"],
            bytes=table["bytes"],
        )

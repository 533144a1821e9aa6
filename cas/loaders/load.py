"""``load_training_data``: from names to two loaders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from cas import registry
from cas.errors import RecipeError, UnknownAsset, UsageError, typed
from cas.listing import tree_id
from cas.loaders.documents import Documents
from cas.loaders.loader import Loader
from cas.loaders.rows import Mode, Rows
from cas.loaders.tokenizer import UNLOCKED, given_tokenizer, keep_unlocked
from cas.names import near
from cas.progress import Progress
from cas.project import Used, watch_git
from cas.recipes.tokens import open_tokens
from cas.request import RecipeRequest
from cas.shards import tokens_tree
from cas.store import read_listing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from cas.loaders.documents import Part
    from cas.loaders.tokenizer import Given
    from cas.lockfile import Asset, Lockfile
    from cas.project import Project

__all__ = ["load_training_data"]

MOST_TOKENS = 1 << 31  # of a batch, 16 GB of int64
_WORTH_TELLING = 16 << 20  # bytes of text: what takes seconds to encode


def load_training_data(
    project: Project,
    dataset_name: str,
    tokenizer: Any,
    max_length: int = 512,
    batch_size: int = 16,
    subset_size: int | None = None,
    val_subset_size: int | None = None,
    num_workers: int = 0,
    *,
    mode: Mode = "packed",
    seed: int = 0,
    rank: int | None = None,
    world_size: int | None = None,
    position_ids: bool = False,
    shift: bool = False,
    column: str | None = None,
    executor: Executor | None = None,
    drop_last: bool = False,
    val_fraction: float = 0.01,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Loader, Loader]:
    """Return (train_loader, val_loader) of a locked dataset; ``cas.load_training_data`` says more.

    *tell* is given what a person should know: a tokenizer that is not locked, a long encoding.
    """
    _check(mode, max_length=max_length, batch_size=batch_size, subset_size=subset_size,
           val_subset_size=val_subset_size, num_workers=num_workers, seed=seed)  # fmt: skip
    if position_ids and shift:
        raise UsageError("position_ids: a pair (x, y) has no place for them", hint="shift=False")
    if not isinstance(val_fraction, int | float) or not 0 <= val_fraction < 1:
        raise UsageError(f"val_fraction: expected 0 to below 1, found {val_fraction!r:.60}")
    if not isinstance(dataset_name, str):
        what = f"expected the name of an asset, found {type(dataset_name).__name__}"
        raise UsageError(f"dataset_name: {what}", hint="cas list shows the assets")
    rank, world_size = _ranks(rank, world_size)
    lock = project.read_lock()
    text, entry, reading = _dataset(project, lock, dataset_name)
    if column is not None:
        reading["column"] = column
    given = given_tokenizer(project, lock, tokenizer)
    assets = _note(project, text, given, tell)
    own = _own_validation(project, text, entry, reading.get("files"))
    options = {"max_length": max_length, "mode": mode, "position_ids": position_ids, "shift": shift}
    make = _Maker(project, lock, text, given, reading=reading, options=options, executor=executor,
                  assets=assets, tell=tell)  # fmt: skip
    first = entry.train_split if entry else "train"
    if own:
        train, val = make.rows(first, subset_size), make.rows(own, val_subset_size)
    else:
        train, val = make.divided(first, subset_size, val_subset_size, val_fraction)
    for rows, split in ((train, first), (val, own)):
        if split and rows.tokens < max_length:
            raise UsageError(
                f"max_length: expected at most {rows.tokens}, the tokens of the split {split!r} "
                f"of {text.name!r}, found {max_length}",
                hint=f"max_length={max(1, rows.tokens // 2)}",
            )
    if batch_size > MOST_TOKENS // max_length:
        raise UsageError(
            f"batch_size: expected at most {MOST_TOKENS // max_length}, found {batch_size}",
            hint="batch_size=16",
        )
    if drop_last and len(train) < batch_size * world_size:
        raise UsageError(
            f"drop_last leaves no batch: {len(train)} rows, and a batch of all ranks has "
            f"{batch_size * world_size}",
            hint="a smaller batch_size",
        )
    ranks: dict[str, Any] = {"batch_size": batch_size, "rank": rank, "world_size": world_size,
                             "num_workers": num_workers}  # fmt: skip
    identity: dict[str, str | int] = {
        "tokenizer": given.file.semantic,
        "max_length": max_length,
        "mode": mode,
    }
    if not len(val):
        tell(f"{text.name}: no document is for validation, so its loader is empty")
    return (
        Loader(train, identity={"dataset": train.identity, **identity}, assets=assets, seed=seed,
               drop_last=drop_last, **ranks),
        Loader(val, identity={"dataset": val.identity, **identity}, assets=assets, **ranks),
    )  # fmt: skip


class _Maker:
    """Makes the rows of one dataset with one tokenizer."""

    def __init__(
        self,
        project: Project,
        lock: Lockfile,
        text: Asset,
        given: Given,
        *,
        reading: Mapping[str, Any],
        options: Mapping[str, Any],
        executor: Executor | None,
        assets: dict[str, str],
        tell: Callable[[str], None],
    ) -> None:
        self._project, self._lock, self._text, self._given = project, lock, text, given
        self._reading = reading  # files, column, errors
        self._options = options  # of the rows
        self._executor = executor
        self._assets = assets
        self._progress = _Told(tell, text.name)

    def rows(self, split: str, most: int | None) -> Rows:
        """Return the rows of a whole split, or of *most* documents of it."""
        return self._rows(self._tree(split, most), split, most=most)

    def divided(
        self, split: str, most: int | None, val_most: int | None, fraction: float
    ) -> tuple[Rows, Rows]:
        """Return the rows for training and for validation of a split that has both.

        Where *most* are asked for, validation is a part of what is encoded for them, and of so
        many shards more as *val_most* takes.
        """
        needed = None
        if most is not None:
            wanted = int(val_most / fraction) if val_most and fraction else 0
            needed = max(int(most / (1 - fraction)) + 1, wanted)
        while True:
            path = self._tree(split, needed)
            train = self._rows(path, split, part="train", most=most, fraction=fraction)
            val = self._rows(path, split, part="validation", most=val_most, fraction=fraction)
            there = sum(shard.documents for shard in open_tokens(path).meta.splits[split])
            short = train.documents < (most or 0) or val.documents < (val_most or 0)
            if needed is None or there < needed or not short or not fraction:
                return train, val
            needed *= 2

    def _tree(self, split: str, most: int | None) -> Path:
        path, tree = tokens_tree(
            self._project,
            self._text,
            self._given.file,
            splits=(split,),
            subset={split: most},
            executor=self._reaching(),
            progress=self._progress,
            **self._reading,
        )
        for asset in self._lock:
            if asset.tree == tree:
                self._project.path(asset.name)
                self._assets[asset.name] = asset.tree_id
        return path

    def _reaching(self) -> Executor | None:
        """Return the executor, such that its workers need the store, or only a remote."""
        listing = self._executor and self._project.stores.listing(self._text.tree)
        if not listing:
            return self._executor
        from cas.installer.afar import reaching
        from cas.installer.bring import Bringer

        bringer = Bringer(self._project, self._lock, progress=self._progress, offline=False,
                          jobs=8, executor=self._executor)  # fmt: skip
        return reaching(bringer, dict(listing.entries))

    def _rows(
        self,
        path: Path,
        split: str,
        *,
        part: Part = "all",
        most: int | None = None,
        fraction: float = 0,
    ) -> Rows:
        documents = Documents(path, split, part=part, fraction=fraction, most=most)
        file = self._given.file
        return Rows(documents, eos=file.eos, pad=self._given.pad, **self._options)


class _Told(Progress):
    """Progress that tells of what takes long, and of what is waited for."""

    def __init__(self, tell: Callable[[str], None], name: str) -> None:
        self._tell, self._name = tell, name

    def begin(self, what: str, *, files: int = 0, size: int = 0) -> None:
        """Say what begins, if it is much."""
        if size >= _WORTH_TELLING:
            self._tell(f"{self._name}: {what} {size / 1e6:,.0f} MB")

    def note(self, message: str) -> None:
        """Pass it on."""
        self._tell(message)


def _dataset(
    project: Project, lock: Lockfile, word: str
) -> tuple[Asset, registry.Dataset | None, dict[str, Any]]:
    """Return the locked dataset that *word* means, its entry, and how its text is to be read.

    A ``tokens/…`` asset means the dataset that it was made of, read as it was for that.
    """
    asset, entry = _named(project, lock, word)
    if not isinstance(asset.request, RecipeRequest) or asset.request.recipe != "tokens":
        return asset, entry, {}
    reading = {k: v for k, v in asset.request.options if k in ("files", "column", "errors")}
    text = lock.find(asset.request.input)
    return text, registry.entry_of(project, text), reading


def _named(project: Project, lock: Lockfile, word: str) -> tuple[Asset, registry.Dataset | None]:
    known = registry.known(project)
    if (entry := known.get(word)) is not None:
        try:
            return lock.find(entry.path, kind="datasets"), entry
        except UnknownAsset as error:
            if "fits" in str(error):
                raise
            raise UnknownAsset(
                f"{word!r} is {entry.path!r}, which is not in assets.lock",
                hint=registry.suggestion(word) or f"cas add {typed(entry.path)}",
            ) from None
    try:
        asset = lock.find(word, kind="datasets")
    except UnknownAsset as error:
        close = near(word, known)
        if "fits" in str(error) or not close:
            raise
        raise UnknownAsset(
            f"{error}; in the registry: {', '.join(map(repr, close))}", hint=error.hint
        ) from None
    return asset, registry.entry_of(project, asset)


def _own_validation(
    project: Project,
    text: Asset,
    entry: registry.Dataset | None,
    files: Sequence[str] | None,
) -> str | None:
    """Return the split that a dataset has for validation, or None: ``test`` only by an entry."""
    from cas import recipes

    wanted = entry.val_split if entry else "validation"
    listing = read_listing(project.store, text.tree)
    if wanted is None or listing is None:
        return None
    paths = [path for path, _ in listing.entries]
    files = files or registry.defaults(project, text.name, text, paths).get("files", ())
    try:
        recipes.select(paths, split=wanted, patterns=files)
    except RecipeError:
        return None
    return wanted


def _note(
    project: Project, text: Asset, given: Given, tell: Callable[[str], None]
) -> dict[str, str]:
    """Note the uses of what is loaded; return name → tree."""
    assets = {}
    for asset in (text, given.asset):
        if asset is not None:
            project.path(asset.name)
            assets[asset.name] = asset.tree_id
    if given.asset is None:
        tree = tree_id(keep_unlocked(project, given.file))
        tell(
            "this tokenizer is no locked asset: recorded as unlocked "
            f"({given.file.semantic[:12]}…); cas add DIRECTORY makes it one"
        )
        project.uses.note(Used(UNLOCKED, tree, None, "input"))
        assets[UNLOCKED] = tree
    if not project.uses.watched:
        watch_git(project.root)
        project.uses.watched = True
    return assets


def _check(mode: str, *, seed: int, num_workers: int, **sizes: int | None) -> None:
    """Raise UsageError for what no loader could be made with."""
    modes = get_args(Mode)
    if mode not in modes:
        close = near(str(mode), modes)
        shown = f"; near: {close[0]!r}" if close else ""
        raise UsageError(
            f"mode: expected {' or '.join(map(repr, modes))}, found {mode!r:.60}{shown}",
            hint=f'mode="{(close or modes)[0]}"',
        )
    for name, value in sizes.items():
        if value is None and name.endswith("subset_size"):
            continue
        if not _is_whole(value) or value < 1:  # type: ignore[operator]
            example = 512 if name == "max_length" else 16 if name == "batch_size" else 1000
            raise UsageError(
                f"{name}: expected a whole number of at least 1, found {value!r:.60}",
                hint=f"{name}={example}",
            )
    for name, value in (("num_workers", num_workers), ("seed", seed)):
        if not _is_whole(value) or value < 0:
            raise UsageError(
                f"{name}: expected a whole number of at least 0, found {value!r:.60}",
                hint=f"{name}=0",
            )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return this process's rank and how many there are: as given, else torch.distributed's."""
    import torch.distributed as dist

    if rank is None and world_size is None:
        if dist.is_available() and dist.is_initialized():
            return dist.get_rank(), dist.get_world_size()
        return 0, 1
    whole = _is_whole(rank) and _is_whole(world_size)
    if rank is None or world_size is None or not whole or not 0 <= rank < world_size:
        raise UsageError(
            f"rank, world_size: expected 0 <= rank < world_size, found rank={rank!r:.60}, "
            f"world_size={world_size!r:.60}",
            hint="both or neither: torch.distributed is asked where neither is given",
        )
    return rank, world_size

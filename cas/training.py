"""What a training script asks ``cas`` for: datasets, tokenizers, batches, and what tokens say.

The functions are public as ``cas.…``. Nothing heavy is imported before one is called.
"""

from __future__ import annotations

from cas import handy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor
    from pathlib import Path
    from typing import Any, Literal

    from transformers import PreTrainedTokenizerFast

    from cas.loaders import Loader

__all__ = [
    "analyse_tokens",
    "discover_local_datasets",
    "download_dataset",
    "download_model",
    "get_dataset_config",
    "list_datasets",
    "load_dataset",
    "load_tokenizer",
    "load_training_data",
]


def download_dataset(repo_id: str, /, **options: Any) -> Path:
    """Add and pull a dataset of the Hub, and return its tree.

    What is locked and present makes no request. *options* are those of ``add``.
    """
    return _download("dataset", repo_id, options)


def download_model(repo_id: str, /, **options: Any) -> Path:
    """Add and pull a model of the Hub, and return its tree, as ``download_dataset`` does."""
    return _download("model", repo_id, options)


def _download(kind: str, repo: str, options: dict[str, Any]) -> Path:
    """Return the tree of a dataset or model of the Hub, added and pulled where it is not."""
    from cas import names
    from cas.assets import add, path
    from cas.errors import UnknownAsset
    from cas.project import current

    kinds = {"dataset": ("datasets", "tokens"), "model": ("models", "tokenizers")}[kind]
    bare = repo.removeprefix(f"{kind}:")
    if not options:
        known = {a.name: a.repo for a in current().read_lock() if names.kind_of(a.name) in kinds}
        try:
            return path(names.find(bare, known), pull=True)
        except UnknownAsset as error:
            if "fits" in str(error):
                raise
    moves = add(f"{kind}:{bare}", **options)
    name = moves[0]["name"] if moves else options.get("name") or f"{kind}s/{bare}"
    return path(name, pull=True)


def list_datasets() -> dict[str, str]:
    """Return name → description of the datasets that are known, and of those that are locked."""
    from cas import registry

    return registry.described(handy.here())


def get_dataset_config(name: str) -> dict[str, Any]:
    """Return what is known of a dataset: an entry's name, or a locked dataset's.

    ``{path, files, text_column, train_split, val_split, description}``: *text_column* is a
    list where columns are joined, and what is absent is None. Raises UnknownAsset.
    """
    from cas import registry

    return registry.find(handy.here(), name).json()


def discover_local_datasets() -> dict[str, dict[str, Any]]:
    """Return name → configuration of the locked datasets whose files are here and hold text."""
    from cas import registry
    from cas.project import current

    return {name: found.json() for name, found in registry.discover(current()).items()}


def analyse_tokens(
    name: str,
    tokenizers: Iterable[str | Path] = (),
    sizes: Iterable[int] = (),
    *,
    split: str = "train",
    column: str | None = None,
    plot: str | Path | None = None,
    parquet: str | Path | None = None,
) -> dict[str, Any]:
    """Return what tokenizers make of a dataset's text (``cas tokens --json``).

    *tokenizers* are names of assets or paths to a tokenizer.json; *sizes* are vocabulary sizes
    of byte-level BPE that is trained on the text. *plot* is a directory for plots and a page,
    *parquet* a file for one row a tokenizer.

    Raises:
        UsageError: a tokenizer or size twice, or one that can't be trained.
        UnknownAsset, NotPulled: a dataset or tokenizer that isn't here.
        RecipeError: no tokenizer, no text, or a file that can't be read.
    """
    from cas import analysis
    from cas.project import current

    named = [tokenizers] if isinstance(tokenizers, str) else list(tokenizers)
    made = analysis.report(
        current(), name, named, tuple(sizes), split=split, column=column, plot=plot,
        parquet=parquet,
    )  # fmt: skip
    return made.json()


def load_dataset(name: str, *args: Any, **options: Any) -> Any:
    """Return ``datasets.load_dataset`` of a locked dataset; arguments are its own.

    The Arrow cache is one of the tree's own: that of ``datasets`` is keyed by the last part
    of a path, and would serve the rows of an earlier tree.
    """
    import os

    from cas import warm
    from cas.assets import path

    datasets = handy.optional("datasets")

    tree = path(name)
    split = warm.tree_of_link(str(tree))
    digest = split[1] if split else tree.name
    options.setdefault("cache_dir", os.path.join(warm.cache_dir(), "arrow", digest))
    return datasets.load_dataset(str(tree), *args, **options)


def load_tokenizer(name: str, **options: Any) -> PreTrainedTokenizerFast:
    """Return a locked tokenizer as transformers' fast one; *options* are its own."""
    from cas.assets import path

    fast = handy.optional("transformers").PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerFast = fast.from_pretrained(str(path(name)), **options)
    return tokenizer


def load_training_data(
    dataset_name: str,
    tokenizer: Any,
    max_length: int = 512,
    batch_size: int = 16,
    subset_size: int | None = None,
    val_subset_size: int | None = None,
    num_workers: int = 0,
    *,
    mode: Literal["packed", "padded"] = "packed",
    seed: int = 0,
    rank: int | None = None,
    world_size: int | None = None,
    position_ids: bool = False,
    shift: bool = False,
    column: str | None = None,
    executor: Executor | None = None,
    drop_last: bool = False,
    val_fraction: float = 0.01,
) -> tuple[Loader, Loader]:
    """Return (train_loader, val_loader) of a locked dataset, encoded at the first use.

    A batch is a dict of int64 tensors (batch_size, max_length): ``input_ids``,
    ``attention_mask``, ``labels`` (-100 on pads); with *position_ids* these instead of the
    mask; with *shift* a pair (x, y). *mode* ``packed`` uses every token once an epoch, EOS
    after each document; ``padded`` gives one document a row. *tokenizer* is a fast tokenizer of
    transformers, a path, or an asset's name. *subset_size* and *val_subset_size* are documents.
    Validation is the dataset's own split, else *val_fraction* of the documents by their hash.

    *batch_size* is a rank's; *rank* and *world_size* are torch.distributed's where it is
    initialised. *seed* decides the order, *drop_last* leaves out a short last batch for
    training. *executor* encodes; its workers need the store, or only a remote. A loader has
    ``len()``, ``dataset``, ``assets``, ``set_epoch``, ``state_dict`` and ``load_state_dict``;
    what it uses is noted for lineage.

    Raises:
        UsageError: an argument that can't be taken, such as max_length beyond the split.
        UnknownAsset, NotPulled, RecipeError: a dataset or tokenizer that can't be used.
    """
    handy.optional("torch")
    with handy.Uncollected():
        from cas import loaders
        from cas.project import current

        return loaders.load_training_data(
            current(), dataset_name, tokenizer, max_length, batch_size, subset_size,
            val_subset_size, num_workers, mode=mode, seed=seed, rank=rank, world_size=world_size,
            position_ids=position_ids, shift=shift, column=column,
            executor=handy.executor_of(executor), drop_last=drop_last, val_fraction=val_fraction,
            tell=handy.say,
        )  # fmt: skip

"""Which files of a dataset are its text.

From the paths of a tree alone, so that it can be answered before anything is downloaded:
the train split only, unless ``all``; the first kind present of parquet, jsonl, json, csv,
txt, the last four also as ``.gz``; never a README, a licence or metadata.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cas.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["KINDS", "kind_of", "select", "split_of"]

KINDS = ("parquet", "jsonl", "json", "csv", "txt")

# The words of the Hub's own rule (datasets' data_files patterns).
_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
_WORD = re.compile(r"[A-Za-z]+")
_SHARD = re.compile(r"([A-Za-z]+)-\d{5}-of-\d{5}", re.ASCII)

_METADATA = re.compile(
    r"(readme|licen[cs]e|notice|citation|changelog|contributing|authors|requirements|robots"
    r"|metadata|dataset_infos?|dataset_dict|state|config|[a-z_]+_config|package|croissant"
    r"|tokenizer|special_tokens_map|added_tokens|vocab|merges)([-_.][^/]*)?\.[a-z]+(\.gz)?"
)

# Repositories that hold the same text twice: of these files, only these are read.
_PREFERRED = ("TinyStoriesV2-GPT4-*.txt",)

_SHOWN = 8  # paths in an error


def kind_of(path: str) -> str | None:
    """Return which of ``KINDS`` a file is by its name, or None."""
    name = path.rpartition("/")[2].lower()
    stem, _, end = name.rpartition(".")
    if end == "gz":
        end = stem.rpartition(".")[2]
        return end if end in KINDS[1:] and "." in stem else None
    return end if stem and end in KINDS else None


def split_of(path: str) -> str | None:
    """Return ``train``, ``validation`` or ``test`` where the path says it, or None.

    The nearest part that has such a word decides: the file's name before its directory. In
    a sharded name (``unsupervised-00000-of-00001``) the word in front is the split, also
    one that is not known here.
    """
    *directories, name = path.split("/")
    shard = _SHARD.match(name)
    if shard is not None:
        word = shard[1].lower()
        if word not in {"data", "part", "shard", "default"}:
            return _SPLITS.get(word, word)
    for part in (name.partition(".")[0], *reversed(directories)):
        for word in _WORD.findall(part):
            if word.lower() in _SPLITS:
                return _SPLITS[word.lower()]
    return None


def select(
    paths: Iterable[str], *, split: str = "train", patterns: Sequence[str] = ()
) -> list[str]:
    """Return the files of a tree that hold its text, sorted.

    *split* is ``all`` or a split. Files that say no split count as ``train`` where no file
    of their kind says ``train``. *patterns* match whole paths as huggingface_hub's do (``*``
    crosses ``/``, a trailing ``/`` is all below), and then files of every kind are read;
    only a pattern that is the very path brings in a README or metadata.

    Raises:
        RecipeError: nothing fits; the message names what there is.
    """
    everything = sorted(paths)
    fitting = [path for path in everything if _fits(path, patterns)]
    if not patterns:
        for preferred in _PREFERRED:
            special = [p for p in fitting if fnmatchcase(p.rpartition("/")[2], preferred)]
            fitting = special or fitting
    fitting = _without_packed_twins(fitting)
    if patterns:
        chosen = _of_split(fitting, split)
    else:
        by_kind = ([path for path in fitting if kind_of(path) == kind] for kind in KINDS)
        chosen = next(filter(None, (_of_split(files, split) for files in by_kind)), [])
    if not chosen:
        raise _nothing(everything, fitting, split, patterns)
    return chosen


def _fits(path: str, patterns: Sequence[str]) -> bool:
    if kind_of(path) is None:
        return False
    if path in patterns:
        return True
    parts = path.lower().split("/")
    if any(part.startswith(".") for part in parts) or _METADATA.fullmatch(parts[-1]):
        return False
    return not patterns or any(
        fnmatchcase(path, pattern + "*" if pattern.endswith("/") else pattern)
        for pattern in patterns
    )


def _without_packed_twins(files: list[str]) -> list[str]:
    """Leave out ``a.txt.gz`` beside ``a.txt``: the same text would count twice."""
    there = set(files)
    return [path for path in files if not (path.endswith(".gz") and path[:-3] in there)]


def _of_split(files: list[str], split: str) -> list[str]:
    if split == "all":
        return files
    said = [path for path in files if split_of(path) == split]
    if said or split != "train":
        return said
    return [path for path in files if split_of(path) is None]


def _nothing(
    everything: list[str], fitting: list[str], split: str, patterns: Sequence[str]
) -> RecipeError:
    if fitting:
        return RecipeError(
            f"no file of the split {split!r}, found {_names(fitting)}",
            hint="--split all, or --files PATTERN",
        )
    if patterns:
        wanted = f"no text file fits {', '.join(map(repr, patterns))}"
    else:
        wanted = f"expected text in {', '.join(KINDS[:-1])} or {KINDS[-1]} files"
    return RecipeError(f"{wanted}, found {_names(everything)}", hint="--files PATTERN")


def _names(paths: list[str]) -> str:
    if not paths:
        return "no files"
    shown = ", ".join(map(repr, paths[:_SHOWN]))
    more = len(paths) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown

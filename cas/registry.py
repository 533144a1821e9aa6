"""The datasets that are known by name: where they are, which files and column hold the text.

Some are built in, a project has its own in ``pyproject.toml``, and any locked dataset is
described by what its files look like::

    [tool.cas.datasets.my_corpus]
    path = "org/corpus"              # a Hub id, or the name of a locked asset
    files = ["data/*.parquet"]       # what is text in it; absent: the rule for text files
    text_column = "body"             # absent: found by its name
    train_split = "train"
    val_split = "validation"         # absent: a part of the train split, chosen by hash
    description = "what it is"

A recipe and a loader take ``files`` and ``text_column`` from here where they are given none.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.errors import CasError, RecipeError, RequestError, UnknownAsset
from cas.names import kind_of, near
from cas.request import HubRequest, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cas.lockfile import Asset
    from cas.project import Project

__all__ = [
    "Dataset",
    "defaults",
    "described",
    "discover",
    "entry_of",
    "find",
    "known",
    "suggestion",
]

_PLACE = "pyproject.toml: tool.cas.datasets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One dataset, as the registry describes it."""

    path: str
    """A Hub id, or the name of a locked asset."""
    files: tuple[str, ...] = ()
    """Patterns of the files that hold text; none: the rule for text files."""
    text_column: str | tuple[str, ...] | None = None
    """One column, or several whose values are joined by a blank line; None: by its name."""
    train_split: str = "train"
    val_split: str | None = None
    """None: there is none of its own."""
    description: str = ""

    def json(self) -> dict[str, Any]:
        """Return it as ``cas.get_dataset_config`` does: a plain dict, lists for several."""
        row = {item.name: getattr(self, item.name) for item in fields(self)}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in row.items()}


BUILT_IN: Mapping[str, Dataset] = {
    "tinystories": Dataset(
        path="roneneldan/TinyStories",
        files=("TinyStoriesV2-GPT4-*.txt",),  # the repository holds three more copies of stories
        text_column="text",
        val_split="validation",
        description="short stories in the words of small children, by GPT-4 (2.2 GB)",
    ),
    "tiny-textbooks": Dataset(
        path="nampdn-ai/tiny-textbooks",
        text_column="textbook",
        val_split="test",
        description="synthetic textbooks on many subjects; gated",
    ),
    "tiny-strange-textbooks": Dataset(
        path="nampdn-ai/tiny-strange-textbooks",
        files=("data_part_*.parquet",),
        text_column="text",
        description="2.7 million synthetic textbooks (16 GB); gated",
    ),
    "tiny-codes": Dataset(
        path="nampdn-ai/tiny-codes",
        text_column=("prompt", "response"),
        description="1.6 million short pieces of code, asked for and answered; gated",
    ),
    "fineweb-edu-10b": Dataset(
        path="HuggingFaceFW/fineweb-edu",
        files=("sample/10BT/*.parquet",),
        text_column="text",
        description="educational web pages, a sample of 10 billion tokens (27 GB)",
    ),
}


def known(project: Project | None) -> dict[str, Dataset]:
    """Return every dataset that has an entry, by its name: a project's own before the built-in.

    Raises RequestError naming the place of an entry that can't be taken.
    """
    return {**BUILT_IN, **(_own(project) if project else {})}


def described(project: Project | None) -> dict[str, str]:
    """Return name → description of every entry, and of the locked datasets that have none."""
    entries = known(project)
    found = {name: entry.description for name, entry in entries.items()}
    for asset in project.read_lock() if project else ():
        if kind_of(asset.name) == "datasets" and _entry(entries, asset.name, asset) is None:
            found[asset.name] = _locked(asset)
    return found


def discover(project: Project) -> dict[str, Dataset]:
    """Return every locked dataset whose files are here and hold text, by its asset's name.

    An entry describes it where one fits, else what its files look like.
    """
    found = {}
    for asset in project.read_lock():
        if kind_of(asset.name) == "datasets" and project.tree_of(asset):
            try:
                found[asset.name] = _describe(project, asset)
            except RecipeError:
                continue  # it holds no text
    return found


def find(project: Project | None, word: str) -> Dataset:
    """Return what is known of a dataset: an entry's name, or a locked dataset's.

    Raises:
        UnknownAsset: neither; the near ones are named.
        RecipeError: it is locked, and holds no text.
    """
    entries = known(project)
    if word in entries:
        return entries[word]
    if project is None:
        raise _unknown(word, entries)
    lock = project.read_lock()
    try:
        asset = lock.find(word, kind="datasets")
    except UnknownAsset as error:
        if "fits" in str(error):
            raise
        raise _unknown(word, [*entries, *lock.assets]) from None
    return _describe(project, asset)


def entry_of(project: Project, asset: Asset) -> Dataset | None:
    """Return the entry that fits a locked dataset, or None; raise RequestError for a bad one."""
    return _entry(known(project), asset.name, asset)


def defaults(
    project: Project, name: str, asset: Asset | None, paths: Iterable[str]
) -> dict[str, Any]:
    """Return the recipe's options that the registry has for an input: ``files``, ``column``.

    *paths* are the files of the input; patterns that none of them fits are no default, nor
    is the column where the text is plain. Raises RequestError for a bad entry.
    """
    from cas import recipes

    entry = _entry(known(project), name, asset)
    if entry is None:
        return {}
    options: dict[str, Any] = {}
    everything = list(paths)
    try:
        read = recipes.select(everything, split="all", patterns=entry.files)
        if entry.files:
            options["files"] = entry.files
    except RecipeError:
        try:
            read = recipes.select(everything, split="all")
        except RecipeError:
            return {}
    if isinstance(entry.text_column, str) and any(recipes.kind_of(p) != "txt" for p in read):
        options["column"] = entry.text_column
    return options


def suggestion(word: str) -> str | None:
    """Return the command that adds the built-in dataset *word*, or None."""
    entry = BUILT_IN.get(word.lower())
    if entry is None:
        return None
    return " ".join([f"cas add {entry.path}", *(f"--include '{one}'" for one in entry.files)])


def _describe(project: Project, asset: Asset) -> Dataset:
    """Return the entry that fits an asset, else what its files look like."""
    from cas import recipes

    entry = _entry(known(project), asset.name, asset)
    if entry is not None:
        return entry
    path = asset.repo or asset.name
    listing = project.stores.listing(asset.tree)
    if listing is None:
        return Dataset(path=path, description=_locked(asset))
    paths = [item.path for item in listing]
    read = recipes.select(paths, split="all")
    splits = {recipes.split_of(one) for one in read}
    tree = project.tree_of(asset)
    columns = recipes.text_columns(Path(tree[0]), read) if tree else None
    return Dataset(
        path=path,
        files=tuple(read),
        text_column=columns[0] if columns and len(columns) == 1 else columns,
        val_split="validation" if "validation" in splits else None,
        description=_locked(asset),
    )


def _locked(asset: Asset) -> str:
    return f"locked: {asset.repo} at {asset.commit}" if asset.repo else "locked, of local files"


def _entry(entries: Mapping[str, Dataset], name: str, asset: Asset | None) -> Dataset | None:
    """Return the entry of an asset: by the Hub's ids, or by its name; the project's own first."""
    forms = {name, name.partition("/")[2]}
    if asset is not None:
        forms |= set(asset.hub_ids.split())
        if isinstance(asset.request, HubRequest):
            forms.discard(name.partition("/")[2])  # the repository says what it is, not the name
            forms.add(asset.request.repo)
    fitting = [entry for entry in entries.values() if entry.path in forms]
    return fitting[-1] if fitting else None


def _unknown(word: str, words: Iterable[str]) -> UnknownAsset:
    close = near(word, words)
    return UnknownAsset(
        f"no dataset {word!r:.200} in the registry or in assets.lock"
        + (f"; near: {', '.join(map(repr, close))}" if close else ""),
        hint=f"cas add {word if '/' in word else 'ORG/NAME'}, "
        "or an entry in [tool.cas.datasets] of pyproject.toml",
    )


# [tool.cas.datasets] ---------------------------------------------------------------------


def _own(project: Project) -> dict[str, Dataset]:
    table = project.read_settings().table.get("datasets", {})
    if not isinstance(table, dict):
        raise RequestError(f"{_PLACE}: expected a table of datasets, found {shown(table)}")
    return {name: _parse(name, entry) for name, entry in table.items()}


def _parse(name: str, table: object) -> Dataset:
    place = f'{_PLACE}."{name}"'
    if not isinstance(table, dict):
        raise RequestError(f"{place}: expected a table with a path, found {shown(table)}")
    keys = [item.name for item in fields(Dataset)]
    for key in table:
        if key not in keys:
            close = near(key, keys)
            meant = f"; near: {close[0]!r}" if close else ""
            raise RequestError(
                f"{place}: unknown key {shown(key)}, expected {', '.join(keys)}{meant}"
            )
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key == "files" or (key == "text_column" and isinstance(value, list)):
            if not isinstance(value, list) or not value or not all(map(_is_text, value)):
                raise _wrong(place, key, "a list of texts", value)
            values[key] = tuple(value)
        elif not _is_text(value):
            expected = "a text or a list of texts" if key == "text_column" else "a text"
            raise _wrong(place, key, expected, value)
        else:
            values[key] = value
    if "path" not in values:
        raise _wrong(place, "path", "a Hub id or the name of an asset", None)
    return Dataset(**values)


def _wrong(place: str, key: str, expected: str, value: object) -> CasError:
    found = "none" if value is None else shown(value)
    return RequestError(f"{place}.{key}: expected {expected}, found {found}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())

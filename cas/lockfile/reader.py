"""assets.lock read strictly: the text is not trusted, and each error says its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from cas.digest import is_digest
from cas.errors import CasError, ListingError, LockfileError
from cas.listing import check_path, parse_tree_id
from cas.lockfile.model import VERSION, Asset, Lockfile
from cas.lockfile.tables import check_values, load_toml, toml_key
from cas.names import check_name, check_names
from cas.request import HubRequest, LocalRequest, RecipeRequest, check_repo, shown
from cas.request import parse as parse_request

if TYPE_CHECKING:
    from cas.digest import Digest

__all__ = ["Conflict", "has_conflict", "parse", "sides"]

MAX_BYTES = 16 << 20  # some 30,000 assets; tomllib reads about 7 MB a second
MAX_NUMBER = 1 << 63

_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_MARK = re.compile(r"^(<{7}|={7}|>{7}|\|{7})( .*)?\r?$", re.MULTILINE)

_RESTORE = "git checkout assets.lock gets the last good one back"
_NO_MARK = r"sed -i '1s/^\xEF\xBB\xBF//' assets.lock"
_UPGRADE = "pip install --upgrade cas-assets"


class Conflict(LockfileError):
    """assets.lock holds git's conflict markers."""


def has_conflict(text: str) -> bool:
    """Say whether *text* holds git's conflict markers."""
    return bool(_MARK.search(text))


def sides(text: str) -> tuple[str, str]:
    """Return (ours, theirs) of a text with conflict markers; raise LockfileError if torn."""
    ours, theirs, state = [], [], "both"
    following = {"<": ("both", "ours"), "|": ("ours", "base"), "=": ("ours base", "theirs"),
                 ">": ("theirs", "both")}  # fmt: skip
    # git's lines end at line feeds only; splitlines() would also cut at U+2028 in a text
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if _MARK.fullmatch(line):
            before, after = following[line[0]]
            if state not in before.split():
                raise LockfileError(
                    f"assets.lock, line {number}: a conflict marker out of place", hint=_RESTORE
                )
            state = after
            continue
        if state in ("both", "ours"):
            ours.append(line)
        if state in ("both", "theirs"):
            theirs.append(line)
    if state != "both":
        raise LockfileError("assets.lock: a conflict that does not end", hint=_RESTORE)
    return "\n".join(ours), "\n".join(theirs)


def parse(text: str | bytes) -> Lockfile:
    """Return the lockfile that *text* says.

    Raises LockfileError naming the place (``asset[3].tree``), Conflict on git's markers.
    """
    data = _load(text)
    version = data.pop("version", None)
    if type(version) is not int or version < 1:
        raise LockfileError(
            f"assets.lock: version: expected {VERSION}, "
            f"found {'none' if version is None else shown(version, 40)}",
            hint=_RESTORE,
        )
    if version > VERSION:
        raise LockfileError(
            f"assets.lock: version {version} is newer than this cas, which reads {VERSION}",
            hint=_UPGRADE,
        )
    blocks = data.pop("asset", [])
    if not isinstance(blocks, list):
        raise LockfileError(
            f"assets.lock: asset: expected [[asset]] blocks, found {shown(blocks)}", hint=_RESTORE
        )
    assets: dict[str, Asset] = {}
    try:
        for index, block in enumerate(blocks):
            asset = _Block(block, f"asset[{index}]").asset()
            if asset.name in assets:
                raise LockfileError(f"asset[{index}].name: {asset.name!r} is there twice")
            assets[asset.name] = asset
        check_names(assets)
    except CasError as error:
        raise LockfileError(f"assets.lock: {error}", hint=error.hint or _RESTORE) from None
    return Lockfile(dict(sorted(assets.items())), data)


def _load(text: str | bytes) -> dict[str, Any]:
    """Return the tables of the text, with no value that could not be written again."""
    if len(text) > MAX_BYTES:
        raise LockfileError(f"assets.lock: {len(text)} bytes, more than {MAX_BYTES}", hint=_RESTORE)
    try:
        text = text.decode() if isinstance(text, bytes) else text.encode().decode()
    except UnicodeError as error:
        at = error.start if isinstance(error, UnicodeDecodeError | UnicodeEncodeError) else 0
        raise LockfileError(f"assets.lock: not UTF-8 at byte {at}", hint=_RESTORE) from None
    if has_conflict(text):
        raise Conflict(
            "assets.lock holds git's conflict markers",
            hint="cas lock merges both sides; --ours or --theirs decides what can't be merged",
        )
    try:
        data = load_toml(text)
        check_values(data)
    except ValueError as error:
        hint = _NO_MARK if text.startswith("\ufeff") else _RESTORE
        raise LockfileError(f"assets.lock: {error}", hint=hint) from None
    return data


class _Block:
    """Typed values of one ``[[asset]]`` block."""

    def __init__(self, table: object, place: str) -> None:
        if not isinstance(table, dict):
            raise LockfileError(f"{place}: expected a table, found {shown(table)}")
        self._table = dict(table)
        self._place = place

    def asset(self) -> Asset:
        name = self._name()
        # a newer cas may ask with a key that this one does not know: it is kept, so that what
        # was pinned can be pulled; only pyproject.toml's requests have a closed set of keys
        request = parse_request(
            self._table.pop("request", None), place=f"{self._place}.request", keep_unknown=True
        )
        tree = self._tree(self._table.pop("tree", None), "tree")
        files, size = self._number("files", 1), self._number("size", 0)
        asset = Asset(
            name=name,
            request=request,
            tree=tree,
            files=files,
            size=size,
            repo=self._repo() if "repo" in self._table else None,
            commit=self._commit() if "commit" in self._table else None,
            file=self._file(files) if "file" in self._table else None,
            recipe=self._recipe() if "recipe" in self._table else None,
            inputs=self._inputs(),
            semantic=self._hex("semantic") if "semantic" in self._table else None,
            made_with=self._text("made-with") if "made-with" in self._table else None,
            access=self._access() if "access" in self._table else None,
            extra=self._table,
        )
        if isinstance(request, HubRequest):
            for key in ("repo", "commit"):
                if getattr(asset, key) is None:
                    self._refuse(key, "the pin of a Hub asset", None)
        if isinstance(request, RecipeRequest) and not asset.recipe:
            self._refuse("recipe", "the id of a derived asset", None)
        if asset.file and not isinstance(request, LocalRequest):
            self._refuse(
                "file", "no file: only a local request makes a single-file asset", asset.file
            )
        return asset

    def _name(self) -> str:
        value = self._text("name")
        try:
            return check_name(value)
        except ListingError as error:
            raise LockfileError(f"{self._place}.name: {error}") from None

    def _text(self, key: str) -> str:
        value = self._table.pop(key, None)
        if not isinstance(value, str) or not value or _CONTROL.search(value):
            self._refuse(key, "a text", value)
        return value

    def _number(self, key: str, least: int) -> int:
        value = self._table.pop(key, None)
        if type(value) is not int or not least <= value < MAX_NUMBER:
            self._refuse(key, f"a whole number from {least} to 2^63", value)
        return value

    def _tree(self, value: object, key: str) -> Digest:
        try:
            return parse_tree_id(value)
        except ValueError:
            self._refuse(key, "a tree id 't1:<64 hex>'", value)

    def _hex(self, key: str) -> str:
        value = self._text(key)
        if not is_digest(value):
            self._refuse(key, "64 lower-case hexadecimal digits", value)
        return value

    def _repo(self) -> str:
        return check_repo(self._text("repo"), place=f"{self._place}.repo")

    def _commit(self) -> str:
        value = self._text("commit")
        if not _COMMIT.fullmatch(value):
            self._refuse("commit", "40 lower-case hexadecimal digits", value)
        return value

    def _file(self, files: int) -> str:
        value = self._text("file")
        try:
            check_path(value)
        except ListingError as error:
            raise LockfileError(f"{self._place}.file: {error}") from None
        if "/" in value or files != 1:
            self._refuse("file", "one file's name, and files = 1", value)
        return value

    def _recipe(self) -> str:
        value = self._text("recipe")
        if not value.startswith("r1:") or not is_digest(value[3:]):
            self._refuse("recipe", "'r1:<64 hex>'", value)
        return value

    def _access(self) -> str:
        value = self._text("access")
        if value not in ("gated", "private"):
            self._refuse("access", "'gated' or 'private'", value)
        return value

    def _inputs(self) -> dict[str, Digest]:
        value = self._table.pop("inputs", {})
        if not isinstance(value, dict):
            self._refuse("inputs", "a table of tree ids", value)
        return {role: self._tree(tree, f"inputs.{toml_key(role):.80}")
                for role, tree in value.items()}  # fmt: skip

    def _refuse(self, key: str, expected: str, value: object) -> NoReturn:
        found = "none" if value is None else shown(value, 90)
        raise LockfileError(f"{self._place}.{key}: expected {expected}, found {found}")

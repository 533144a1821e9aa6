"""The warm lock: used while the files are byte for byte what they were, and only then."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas import warm
from cas.warm import WarmAsset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOCK = b"version = 1\n"
TREE = "ab" + "0" * 62


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    project = tmp_path / "project"
    project.mkdir()
    (project / "assets.lock").write_bytes(LOCK)
    return project


def asset(target: str, name: str = "models/x", mtime: int = 5) -> WarmAsset:
    return WarmAsset(name, TREE, "", "org/x org/y", f"assets/{name}", target, [(target, mtime)])


def keep(root: Path, *assets: WarmAsset, requests: bytes | None = None) -> Path:
    if requests is not None:
        (root / "pyproject.toml").write_bytes(requests)
    warm.save(str(root), LOCK, requests, assets)
    (file,) = (root.parent / "cache/cas/locks").iterdir()
    return file


def fields(one: WarmAsset) -> tuple[object, ...]:
    return tuple(getattr(one, name) for name in WarmAsset.__slots__ if name != "mark")


@pytest.mark.parametrize("requests", [None, b"", b"[tool.cas]\n", b"\xff\n\n7"])
def test_what_was_kept_is_loaded_again(root: Path, requests: bytes | None) -> None:
    kept = [asset("/s/é b"), asset("/s/\udcff", "datasets/a/b", -1)]
    keep(root, *kept, requests=requests)
    loaded = warm.load(str(root))
    assert loaded is not None
    assert list(loaded.assets) == ["models/x", "datasets/a/b"]
    assert [fields(one) for one in loaded.assets.values()] == [fields(one) for one in kept]


def test_a_project_without_assets_is_kept_too(root: Path) -> None:
    keep(root)
    loaded = warm.load(str(root))
    assert loaded is not None
    assert loaded.assets == {}


@pytest.mark.parametrize("requests", [None, b"[tool.cas]\n"])
def test_it_is_not_used_when_a_file_changed_by_a_byte(root: Path, requests: bytes | None) -> None:
    keep(root, asset("/s"), requests=requests)
    assert warm.load(str(root))
    for name, other in (("assets.lock", LOCK + b"\n"), ("pyproject.toml", b"[tool.cat]\n")):
        before = (root / name).read_bytes() if (root / name).exists() else None
        (root / name).write_bytes(other)
        assert warm.load(str(root)) is None
        (root / name).unlink()
        assert (warm.load(str(root)) is None) is (before is not None)
        if before is not None:
            (root / name).write_bytes(before)
        assert warm.load(str(root))


def test_a_damaged_file_is_not_used(root: Path) -> None:
    file = keep(root, asset("/s"), requests=b"a = 1\n")
    whole = file.read_bytes()
    for at in range(len(whole)):
        if at == 19:
            continue  # the line feed after the sum says nothing
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert warm.load(str(root)) is None, at
        file.write_bytes(whole[:at])
        assert warm.load(str(root)) is None, at


def test_a_line_feed_in_a_path_means_that_nothing_is_kept(root: Path) -> None:
    warm.save(str(root), LOCK, None, [asset("/s\n")])
    assert warm.load(str(root)) is None
    keep(root, asset("/s\t"))
    assert warm.load(str(root))


def test_a_cache_that_can_not_be_written_or_read_is_no_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root.parent / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "file"))
    warm.save(str(root), LOCK, None, [asset("/s")])
    assert warm.load(str(root)) is None
    assert sorted(os.listdir(root.parent)) == ["file", "project"]


def test_a_relative_cache_home_is_ignored_as_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert warm.cache_dir() in ("/home/me/.cache/cas", "/home/me/Library/Caches/cas")


def test_a_view_is_in_place_while_link_and_directories_are_as_recorded(root: Path) -> None:
    tree = root.parent / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").touch()
    view = root / "assets/models/x"
    view.parent.mkdir(parents=True)
    view.symlink_to(tree)
    one = asset(str(tree))
    one.directories = [(str(d), d.stat().st_mtime_ns) for d in (tree, tree / "sub")]
    assert warm.in_place(str(root), one)

    (tree / "sub/file").unlink()  # a purger's work
    os.utime(tree / "sub", ns=(1, 1))
    assert not warm.in_place(str(root), one)
    one.directories[1] = (str(tree / "sub"), 1)
    assert warm.in_place(str(root), one)

    bad = root.parent / "tree.bad"
    bad.touch()
    assert not warm.in_place(str(root), one)
    bad.unlink()

    view.unlink()
    assert not warm.in_place(str(root), one)
    assert warm.in_place(str(root), one, view=False)
    view.symlink_to(root)
    assert not warm.in_place(str(root), one)
    one.directories = []
    assert not warm.in_place(str(root), one, view=False)


def _nothing(_: Path, __: WarmAsset) -> None: ...


def _view_is_gone(root: Path, one: WarmAsset) -> None:
    (root / one.view).unlink()


def _view_leads_elsewhere(root: Path, one: WarmAsset) -> None:
    (root / one.view).unlink()
    (root / one.view).symlink_to(f"{one.target}/../{os.path.basename(one.target)}")


def _view_is_a_copy(root: Path, one: WarmAsset) -> None:
    (root / one.view).unlink()
    (root / one.view).mkdir()


def _file_was_taken_out(_: Path, one: WarmAsset) -> None:
    os.unlink(f"{one.target}/sub/file")
    os.utime(f"{one.target}/sub", ns=(1, 1))


def _tree_is_gone(_: Path, one: WarmAsset) -> None:
    os.rename(one.target, f"{one.target}-")


def _tree_is_marked(_: Path, one: WarmAsset) -> None:
    with open(f"{one.target}.bad", "w"):
        pass


def _tree_is_marked_by_this_user(_: Path, one: WarmAsset) -> None:
    warm.make_cache_dir("bad")
    with open(warm.private_mark(one.target), "w"):
        pass


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize(
    "spoil",
    [
        _nothing,
        _view_is_gone,
        _view_leads_elsewhere,
        _view_is_a_copy,
        _file_was_taken_out,
        _tree_is_gone,
        _tree_is_marked,
        _tree_is_marked_by_this_user,
    ],
)
def test_all_are_in_place_when_each_of_them_is(
    root: Path, spoil: Callable[[Path, WarmAsset], None], which: int
) -> None:
    rows = []
    for number in range(3):
        tree = root.parent / f"tree-{number}"
        (tree / "sub").mkdir(parents=True)
        (tree / "sub/file").touch()
        row = asset(str(tree), f"models/{number}")
        row.directories = [(str(d), d.stat().st_mtime_ns) for d in (tree, tree / "sub")]
        rows.append(row)
        view = root / row.view
        view.parent.mkdir(parents=True, exist_ok=True)
        view.symlink_to(tree)
    keep(root, *rows)
    kept = warm.load(str(root))
    assert kept is not None
    spoil(root, rows[which])
    assert kept.in_place(str(root)) is (spoil is _nothing)
    assert all(warm.in_place(str(root), one) for one in kept.assets.values()) is (spoil is _nothing)


def test_an_asset_without_a_directory_is_not_in_place(root: Path) -> None:
    one = asset("/s")
    one.directories = []
    keep(root, one)
    kept = warm.load(str(root))
    assert kept is not None
    assert not kept.in_place(str(root))


@pytest.mark.parametrize("file", ["", "exp_001.pt", "trees"])
def test_a_link_into_any_store_is_told_by_its_form(file: str) -> None:
    target = f"/any/trees/store/trees/ab/{'0' * 62}" + (f"/{file}" if file else "")
    assert warm.tree_of_link(target) == ("/any/trees/store", TREE, file)


@pytest.mark.parametrize(
    "target",
    ["", "/", "trees", "/s/trees/", "/s/trees/ab", f"/s/trees/ab/{'0' * 61}",
     f"/s/trees/ab/{'0' * 63}", f"/s/trees/AB/{'0' * 62}", f"/s/trees/ab/{'g' * 62}",
     f"/s/trees/ab/{'0' * 62}/", f"/s/trees/ab/{'0' * 62}/a/b", f"/s/trees/abc/{'0' * 61}",
     f"/s/trees/a/{'0' * 63}", f"/s/objects/ab/{'0' * 62}", f"/s/trees/ab/{'0' * 62}.bad",
     f"/s/trees/ab/{'٣' * 62}"],
)  # fmt: skip
def test_any_other_link_is_not_ours(target: str) -> None:
    assert warm.tree_of_link(target) is None


@settings(deadline=None)
@given(st.text(st.characters()))
def test_any_text_is_a_link_of_ours_or_not(target: str) -> None:
    for text in (target, f"/s/trees/{target}", f"/s/trees/ab/{'0' * 62}{target}"):
        found = warm.tree_of_link(text)
        assert found is None or len(found[1]) == 64


def test_the_cache_is_open_to_its_user_only_whatever_the_umask(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = os.umask(0)
    try:
        made = warm.make_cache_dir("locks")
    finally:
        os.umask(before)
    assert os.stat(made).st_mode & 0o777 == 0o700
    assert os.stat(os.path.dirname(made)).st_mode & 0o777 == 0o700

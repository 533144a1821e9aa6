"""The format of a tree, made and checked by other tools, and what may not get into it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas import listing as room
from cas.digest import Digest, hash_bytes
from cas.errors import CasError, ListingError
from cas.listing import (
    HEADER,
    Listing,
    check_path,
    is_left_out,
    parse_tree_id,
    tree_id,
    twins,
    unportable,
)

if TYPE_CHECKING:
    from pathlib import Path

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
HI = "98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4"  # printf 'hi\n'

# written by hand; `sha256sum` of it gives the id
GOLDEN = (
    f"# cas-tree 1\n{HI}  -x\n{HI}  A\n{EMPTY}  a b/c's\n{HI}  a/é.txt\n{EMPTY}  a0\n"
    f"{HI}  日本/😀\n"
).encode()
GOLDEN_ID = "t1:a98002e3b84e374919acbafe5efe48ef1b5cd40cd8b2ad6aa80ef4b80469d9c9"

FILES = {"-x": b"hi\n", "A": b"hi\n", "a b/c's": b"", "a/é.txt": b"hi\n", "a0": b"",
         "日本/😀": b"hi\n"}  # fmt: skip


def put(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def listing_of(files: dict[str, bytes]) -> Listing:
    return Listing.of((path, hash_bytes(data)) for path, data in files.items())


def shell_of_the_docstring() -> str:
    text = (room.__doc__ or "").split("no cas installed::\n\n")[1]
    return "\n".join(line for line in text.split("\n\n")[0].splitlines())


def bash(command: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, capture_output=True, stdin=subprocess.DEVNULL, check=False
    )


def test_the_golden_listing_and_its_id() -> None:
    assert listing_of(FILES).data() == GOLDEN
    assert tree_id(listing_of(FILES).digest) == GOLDEN_ID
    assert "t1:" + hashlib.sha256(GOLDEN).hexdigest() == GOLDEN_ID
    assert Listing.parse(GOLDEN) == listing_of(FILES)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_the_docstrings_shell_line_makes_the_id_without_cas(tmp_path: Path, locale: str) -> None:
    put(tmp_path, FILES)
    done = bash(f"export LC_ALL={locale}\n{shell_of_the_docstring()}", tmp_path)
    assert done.stderr == b""
    assert f"t1:{done.stdout.split()[0].decode()}" == GOLDEN_ID


def test_the_shell_line_takes_a_file_named_as_standard_input(tmp_path: Path) -> None:
    files = {"-": b"hi\n", "a": b""}
    put(tmp_path, files)
    done = bash(shell_of_the_docstring(), tmp_path)
    assert done.stdout.split()[0].decode() == listing_of(files).digest
    assert unportable("-")  # but `sha256sum -c` would read it from its standard input


def test_sha256sum_checks_a_tree_by_its_listing(tmp_path: Path) -> None:
    put(tmp_path / "tree", FILES)
    (tmp_path / "listing").write_bytes(listing_of(FILES).data())
    assert bash("sha256sum --strict --quiet -c ../listing", tmp_path / "tree").returncode == 0
    (tmp_path / "tree/A").write_bytes(b"ho\n")
    done = bash("sha256sum --strict --quiet -c ../listing", tmp_path / "tree")
    assert done.returncode == 1
    assert done.stdout == b"A: FAILED\n"


def test_a_file_that_holds_a_listing_has_another_id_than_its_tree() -> None:
    assert hash_bytes(GOLDEN.removeprefix(HEADER)) != listing_of(FILES).digest


# Paths

PARTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=9
).filter(lambda part: part not in (".", "..") and part.lower() != ".git")
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
DIGESTS = st.binary(min_size=1, max_size=4).map(hash_bytes)


def without_nesting(files: dict[str, Digest]) -> dict[str, Digest]:
    return {
        path: digest
        for path, digest in files.items()
        if not any("/".join(path.split("/")[:n]) in files for n in range(1, path.count("/") + 1))
    }


@settings(deadline=None)
@given(st.dictionaries(PATHS, DIGESTS, min_size=1, max_size=8).map(without_nesting))
def test_parse_gives_back_what_data_wrote(files: dict[str, Digest]) -> None:
    made = Listing.of(files.items())
    assert Listing.parse(made.data()) == made
    assert Listing.parse(made.data()).data() == made.data()
    assert [e.path.encode() for e in made] == sorted(path.encode() for path in files)
    directories = made.directories()
    assert directories[0] == ""
    assert set(directories) == {""} | {
        "/".join(p.split("/")[:n]) for p in files for n in range(1, p.count("/") + 1)
    }


@settings(deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: HEADER + data + b"\n"))
def test_any_bytes_are_a_listing_or_one_error(data: bytes) -> None:
    try:
        made = Listing.parse(data)
    except ListingError as error:
        assert len(str(error)) < 400  # noqa: PT017
    else:
        assert made.data() == data


@settings(deadline=None)
@given(st.text(st.characters(), max_size=30))
def test_any_text_is_a_path_or_one_error(path: str) -> None:
    try:
        check_path(path)
    except ListingError:
        with pytest.raises(ListingError):
            Listing.of([(path, Digest(EMPTY))])
    else:
        assert Listing.parse(Listing.of([(path, Digest(EMPTY))]).data()).entries[0].path == path
        assert not os.path.isabs(path)
        assert not os.path.normpath(os.path.join("/tree", path)).startswith("/tree/../")


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/etc/passwd", "../x", "a/../x", "..", ".", "a/.", "./a", "a//b", "a/", "//a",
        "a\0b", "a\nb", "a\rb", "a\tb", "\x1b[2J", "a\x7f", "a\x85b", "a\x9b2J", "a\\b", "\\",
        "x" * 256, "é" * 128, "a/" + "x" * 300, "a/" * 512 + "b", "\ud800", "a/\udcff",
        ".git", ".git/config", "a/.git/hooks/x", "a/.GIT", "a/.Git/x", "x" * 1_000_000,
    ],
)  # fmt: skip
def test_a_path_that_escapes_or_breaks_the_format_is_refused(path: str) -> None:
    with pytest.raises(ListingError, match=r"^path ") as caught:
        check_path(path)
    assert len(str(caught.value)) < 300
    with pytest.raises(ListingError):
        Listing.of([("ok", Digest(EMPTY)), (path, Digest(EMPTY))])
    with pytest.raises(ListingError):
        Listing.parse(HEADER + f"{EMPTY}  {path}\n".encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "path",
    ["a", "a b", " a", "a ", "a.", "-", "...", "..a", ".gitignore", "a/.gitattributes", "x" * 255,
     "é" * 127, "a:b", "con", "a*?\"<>|", "e\u0301", "\u00e9", "日本", "😀", "a\u2028b",
     "/".join(["x" * 255] * 4) + "", "~", "$HOME", "`id`", "%2e%2e"],
)  # fmt: skip
def test_a_path_that_real_repositories_have_is_kept(path: str) -> None:
    check_path(path)
    assert Listing.parse(HEADER + f"{EMPTY}  {path}\n".encode()).entries[0].path == path


def test_the_longest_path_is_1024_bytes() -> None:
    longest = "/".join(["x" * 204] * 4 + ["x" * 204])
    assert len(longest) == 1024
    check_path(longest)
    with pytest.raises(ListingError, match="1025 bytes"):
        check_path("y" + longest)


@pytest.mark.parametrize(
    "paths", [["a", "a/b"], ["a/b", "a"], ["a/b/c", "x", "a"], ["a", "a.", "a/b"]]
)
def test_a_file_beside_a_directory_of_its_name_is_refused(paths: list[str]) -> None:
    with pytest.raises(ListingError, match="'a' is a file beside it"):
        Listing.of((path, Digest(EMPTY)) for path in paths)
    lines = sorted(f"{EMPTY}  {path}\n".encode() for path in paths)
    with pytest.raises(ListingError, match="'a' is a file beside it"):
        Listing.parse(HEADER + b"".join(lines))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", HEADER, HEADER[:-1], HEADER + b"\n", b"# cas-tree 2\n" + b"0" * 64 + b"  a\n",
        b"\xef\xbb\xbf" + GOLDEN, GOLDEN.replace(b"\n", b"\r\n"), GOLDEN[:-1], GOLDEN + b"\n",
        GOLDEN + GOLDEN, GOLDEN.replace(b"  A", b" *A"), GOLDEN.replace(b"  A", b" A"),
        GOLDEN.upper(), GOLDEN.replace(HI.encode(), HI[:-1].encode()),
        GOLDEN.replace(HI.encode(), HI.encode() + b"0"), GOLDEN.replace(b"a0", b"a\xff"),
        HEADER + f"{HI}  b\n{HI}  a\n".encode(), HEADER + f"{HI}  a\n{HI}  a\n".encode(),
        HEADER + f"\\{HI}  a\\\\b\n".encode(), HEADER + f"{HI.upper()}  a\n".encode(),
        HEADER + f"{HI}  \n".encode(), HEADER + f"{HI}\n".encode(),
        HEADER + b"# a comment\n" + f"{HI}  a\n".encode(),
        HEADER + ("٣" * 64).encode() + b"  a\n",
        # UTF-16 would sort these the other way round
        HEADER + f"{HI}  \U00010000\n{HI}  \uffff\n".encode(),
    ],
)  # fmt: skip
def test_a_listing_that_is_not_canonical_is_refused(data: bytes) -> None:
    with pytest.raises(ListingError) as caught:
        Listing.parse(data)
    assert len(str(caught.value)) < 300


def test_a_tree_has_a_file() -> None:
    with pytest.raises(ListingError, match="at least one file"):
        Listing.of([])


@pytest.mark.parametrize(
    "text", [None, 1, "", "t1:", f"t1:{EMPTY[:-1]}", f"t1:{EMPTY.upper()}", f"t2:{EMPTY}", EMPTY,
             f"t1:{EMPTY}\n", f" t1:{EMPTY}", "t1:" + "٣" * 64, b"t1:" + EMPTY.encode()],
)  # fmt: skip
def test_a_tree_id_is_read_strictly(text: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_tree_id(text)


def test_a_tree_id_is_read_back() -> None:
    assert parse_tree_id(tree_id(Digest(EMPTY))) == EMPTY


# What is left out, and what is told


@pytest.mark.parametrize(
    ("path", "out"),
    [
        (".gitattributes", True), ("a/.gitattributes", False), (".git/config", True),
        (".gitignore", False), (".cache/huggingface/x", True), (".cache/other", False),
        ("a/.cache/huggingface/x", False), (".gitmodules", False),
    ],
)  # fmt: skip
def test_what_is_left_out_lies_at_the_root_only(path: str, out: bool) -> None:
    assert is_left_out(path) is out


@pytest.mark.parametrize(
    "path",
    ["a:b", "a*", "a?", 'a"', "a<", "a>", "a|", "CON", "a/nul.txt", "com1", "LPT9.x", "com¹", "a.",
     "a ", "a /b", "a./b", "con .txt", "CONOUT$"],
)  # fmt: skip
def test_what_another_system_can_not_hold_is_told(path: str) -> None:
    check_path(path)
    assert unportable(path)


@pytest.mark.parametrize("path", ["a", "console", "com", "com10", ".a", "a b", "nul_", "lpt", "é"])
def test_what_every_system_holds_is_not_told(path: str) -> None:
    assert unportable(path) is None


@pytest.mark.parametrize(
    ("paths", "pairs"),
    [
        (["a", "A"], [("a", "A")]),
        (["x/\u00e9", "x/e\u0301"], [("x/\u00e9", "x/e\u0301")]),
        (["ß", "ss", "SS"], [("ß", "ss"), ("ß", "SS")]),
        (["A", "a/b/c"], [("A", "a")]),
        (["a/b", "c/A/B"], []),
        (["A/x", "a/y"], []),
        (["a", "b"], []),
    ],
)
def test_twins_are_one_path_where_case_or_unicode_form_do_not_count(
    paths: list[str], pairs: list[tuple[str, str]]
) -> None:
    assert twins(paths) == pairs


def test_changes_are_told_by_path() -> None:
    old = listing_of({"a": b"1", "b": b"1", "c": b"1"})
    new = listing_of({"b": b"2", "c": b"1", "d": b"1"})
    assert old.changes(new) == (["d"], ["a"], ["b"])


def test_a_hundred_thousand_files_take_half_a_second() -> None:
    made = Listing.of(
        (f"data/part{n % 100:03}/train-{n:06}.parquet", Digest(f"{n:064x}")) for n in range(100_000)
    )
    best = 9.0
    for _ in range(3):
        start = time.process_time()
        assert Listing.parse(made.data()) == made
        best = min(best, time.process_time() - start)
    assert best < 1.0  # 0.4 s on a quiet machine


def test_every_error_is_one_of_ours() -> None:
    assert issubclass(ListingError, CasError)

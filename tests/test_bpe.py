"""The training engine of recipe bpe: what tokenizers trains, on all cores, at a fraction."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from cas.crew import Crew
from cas.errors import CasError, RecipeError
from cas.recipes import documents, parse
from cas.recipes.counting import Reading, count, is_in
from cas.recipes.layout import tokenizer_json
from cas.recipes.merging import learn
from cas.recipes.reading import File
from cas.recipes.stretches import SEPARATOR, stretches
from cas.recipes.text import passages
from cas.recipes.words import WordCounter
from tests import stories

LIMIT = 60  # seconds that something may take on a busy machine


def refused(match: str):
    return pytest.raises(RecipeError, match=match)


def trained_by_library(texts, special, vocab_size, min_frequency=2) -> bytes:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return tokenizer_json(vocabulary, map(tuple, model["merges"]), special)


def cut_by_library(texts) -> Counter[str]:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Counter(
        text[start:end] for text in texts for _, (start, end) in byte_level.pre_tokenize_str(text)
    )


def counted(texts, apart=()) -> Counter[str]:
    counter = WordCounter(apart)
    counter.add(texts)
    return counter.result()


def build(tree: Path, out: Path, files=None, executor=None, progress=None, **options) -> bytes:
    recipe = parse("bpe", {"vocab_size": 600, **options})
    out.mkdir()
    chosen = recipe.select(sorted(p.name for p in tree.iterdir()) if files is None else files)
    recipe.build(tree, chosen, out, progress, executor)
    return (out / "tokenizer.json").read_bytes()


# Words

PIECES = st.sampled_from(
    r"a|b1|A| |  |   |\n|\n\n|\r\n|\t|'s|'|'ll|'re|-|.|é|e\u0301|語|🌙|\U0001d407|\u2177|12|²|٣|"
    r"\0|\x1c|\x0b|\x85|\u00a0|\u2028|\u3000|\u180e|\u200b".encode("latin-1", "backslashreplace")
    .decode("unicode_escape")
    .split("|")
)
TEXTS = st.lists(st.lists(PIECES, min_size=1, max_size=30).map("".join), max_size=8)


@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_words_are_those_of_the_library(texts):
    assert counted(texts) == cut_by_library(texts)


def test_words_are_those_of_the_library_in_blocks_of_every_kind():
    few = list(stories.stories(70, seed=3))
    spaced = [text.replace(". ", ".  ") for text in few]
    indented = ["def f(x):\n    if x:\n\t\treturn  x   \n" * 40, "a\n \n  b \n\n\n   c  "] * 5
    foreign = ["Ein Märchen: „Es war einmal …“ 昔々、あるところに\u3000おじいさん"] * 5
    expected = cut_by_library(few)
    many = Counter({word: 100 * number for word, number in expected.items()})
    for others in ([], spaced, indented, indented + foreign):
        texts = few * 100 + others  # more characters than are counted at once
        assert counted(texts) == many + cut_by_library(others)
        assert counted(few + others) == expected + cut_by_library(others)


def test_no_word_reaches_over_a_special_token():
    assert counted(["one<|x|>two <|x|><y>three"], ["<|x|>", "<y>"]) == Counter(
        ["one", "two", " ", "three"]
    )
    assert counted(["a<|x|>>b"], ["<|x|>", "<|x|>>"]) == Counter(["a", "b"])  # the longest wins


# Merges

WORDS = st.one_of(
    st.text("ab", min_size=1, max_size=24),
    st.text("abcé語", min_size=1, max_size=12),
    st.integers(1, 60).map(lambda n: "a" * n),
    st.lists(st.sampled_from(["ab", "aba", "ca", "aa"]), min_size=1, max_size=12).map("".join),
)


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(WORDS, st.integers(1, 12), max_size=30),
    st.sampled_from([[], ["<|x|>"], ["ab", "<pad>"], ["aab", "baba"]]),
    st.integers(0, 120),
    st.sampled_from([1, 2, 3, 7]),
)
def test_merges_are_those_of_the_library(words, special, more, min_frequency):
    size = 256 + len(special) + more
    texts = [word for word, many in words.items() for _ in range(many)]
    expected = trained_by_library(texts, special, size, min_frequency)
    cut = cut_by_library(texts)
    tokens, merges = learn(cut, special, vocab_size=size, min_frequency=min_frequency)
    assert tokenizer_json(tokens, merges, special) == expected
    again = dict(reversed(cut.items()))
    assert learn(again, special, vocab_size=size, min_frequency=min_frequency) == (tokens, merges)


def test_a_pair_is_counted_beyond_31_bits():
    tokens, merges = learn({"ab": 2**33, "cd": 3}, [], vocab_size=300, min_frequency=2)
    assert (tokens[256:], merges) == (["ab", "cd"], [("a", "b"), ("c", "d")])
    assert learn({}, [], vocab_size=300, min_frequency=2)[1] == []


# The whole


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """More than is counted in one process: 36 MB, of which most is repeated."""
    tree = tmp_path_factory.mktemp("corpus")
    stories.write_txt(tree / "part", 1_200_000, seed=21)
    part = (tree / "part").read_bytes()
    (tree / "part").unlink()
    (tree / "x.txt").write_bytes(part * 30)
    return tree


SCRIPT = """
import os, sys
from pathlib import Path
from cas.recipes import parse
tree, out, cores = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if cores:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
def told(done, total):
    print(done, total, flush=True)
parse("bpe", {"vocab_size": 600}).build(tree, ["x.txt"], out, told)
"""


def start(tmp_path: Path, tree: Path, cores: int = 0, **more) -> subprocess.Popen[str]:
    """Run the script, whose top level has no guard against being run in another process."""
    (tmp_path / "out").mkdir(exist_ok=True)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), str(tree), str(tmp_path / "out"), str(cores)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def test_the_bytes_do_not_depend_on_cores_and_are_the_librarys(corpus, tmp_path):
    made = []
    for cores in (1, 2):
        place = tmp_path / str(cores)
        place.mkdir()
        process = start(place, corpus, cores)
        shown, errors = process.communicate(timeout=5 * LIMIT)
        assert (process.returncode, errors) == (0, "")
        lines = [tuple(map(int, line.split())) for line in shown.splitlines()]
        size = (corpus / "x.txt").stat().st_size
        assert lines == sorted(lines)  # once each: no process ran the script again
        assert len(lines) > 3
        assert lines[-1] == (size, size)
        made.append((place / "out" / "tokenizer.json").read_bytes())
    assert made[0] == made[1]
    texts = list(documents(corpus / "x.txt"))
    special = ["<|endoftext|>", "<|pad|>"]
    assert made[0] == trained_by_library(texts[: len(texts) // 30] * 2, special, 600)


def children(pid: int) -> set[int]:
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(name))
    return found


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(what) -> None:
    end = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="looks into /proc")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core needs no processes")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_build_leaves_no_process_and_no_file(corpus, tmp_path, how):
    process = start(tmp_path, corpus, start_new_session=True)
    until(lambda: len(children(process.pid)) >= 2)
    workers = children(process.pid)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.send_signal(how)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == -how
    assert errors.count("Traceback") == (how == signal.SIGINT)
    until(lambda: not any(map(running, workers)))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_process_that_is_killed_is_said(tmp_path):
    (tmp_path / "x.txt").write_text("one two")
    with Crew(1) as crew:
        pid = crew.submit(os.getpid).result(LIMIT)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not running(pid))
        with pytest.raises(CasError, match=r"ended .exit code -9.") as caught:
            count(tmp_path, ["x.txt"], Reading(), executor=crew)
        assert "memory" in caught.value.hint


def test_an_answer_that_can_not_be_sent_is_said_and_the_process_goes_on():
    with Crew(1) as crew:
        pid = crew.submit(os.getpid).result(LIMIT)
        with pytest.raises(CasError, match="an answer that can be pickled, found 'lock'"):
            crew.submit(threading.Lock).result(LIMIT)
        with pytest.raises(CasError, match="Odd: 1 and 2"):
            crew.submit(raise_odd).result(LIMIT)
        assert crew.submit(os.getpid).result(LIMIT) == pid


class Odd(Exception):
    """It can be pickled, and not read again: its arguments are its own."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raise_odd() -> None:
    raise Odd(1, 2)


def test_any_executor_gives_the_same_bytes(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for n in range(4):
        stories.write_txt(tree / f"{n}.txt", 60_000, seed=n)
    expected = build(tree, tmp_path / "one")
    with ThreadPoolExecutor(3) as threads:
        assert build(tree, tmp_path / "threads", executor=threads) == expected
    seen = []
    with Crew(2) as crew:
        made = build(tree, tmp_path / "crew", executor=crew, progress=lambda *at: seen.append(at))
    assert made == expected
    size = sum(path.stat().st_size for path in tree.iterdir())
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)
    (tree / "5.txt").write_bytes(b"text \xff")
    with Crew(2) as crew, refused("'5.txt': invalid UTF-8 at byte 5") as caught:
        build(tree, tmp_path / "bad", executor=crew)
    assert caught.value.hint == "--errors replace, or iconv -t utf-8"


# Stretches


def write_kinds(tree: Path) -> list[str]:
    texts = list(stories.stories(300, seed=8))
    stories.write_parquet(tree / "x.parquet", 300, seed=8, group=50)
    stories.write_jsonl(tree / "x.jsonl", 300, seed=8)
    text = f"\n{SEPARATOR}\r\n".join(texts)
    (tree / "x.txt").write_bytes(text.encode())
    (tree / "x.txt.gz").write_bytes(gzip.compress(text.encode()))
    (tree / "x.json").write_text(json.dumps(texts))
    return texts


def test_stretches_together_are_the_file(tmp_path):
    texts = write_kinds(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        for least in (20_000, 1 << 30):
            parts = stretches(File(path, path.name, None), least)
            cuts = path.suffix in {".parquet", ".jsonl", ".txt"} and least < 1 << 30
            assert (len(parts) > 3) == cuts
            read = [text for part in parts for text in documents(path, stretch=part)]
            assert read == texts


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.sampled_from(["a", "b.", ">", " ", "\n", "\r\n", "é", f"\n{SEPARATOR}\n", SEPARATOR]),
        max_size=60,
    ).map("".join),
    st.integers(1, 12),
)
def test_a_document_is_cut_between_words(tmp_path_factory, text, least):
    path = tmp_path_factory.getbasetemp() / "cut.txt"
    path.write_bytes(text.encode())
    parts = stretches(File(path, path.name, None), least, inside=True)
    assert [part.start for part in parts[1:]] == [part.end for part in parts[:-1]]
    assert (parts[0].start, parts[-1].end) == (0, len(text.encode()))
    read = [text for part in parts for text in passages(path, stretch=part)]
    assert cut_by_library(read) == cut_by_library(documents(path))


# Subsets and errors


def test_a_subset_is_nested_and_chosen_by_the_text(tmp_path):
    texts = list(stories.stories(2000, seed=4))
    chosen = [{text for text in texts if is_in(text, rate)} for rate in (0.05, 0.3, 0.31, 1)]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]
    assert 0.25 < len(chosen[1]) / len(texts) < 0.35
    second = int.from_bytes(hashlib.sha256(texts[0].encode()).digest()[8:16], "little") / 2**64
    assert not is_in(texts[0], second)
    assert is_in(texts[0], second + 1e-6)
    (tmp_path / "tree").mkdir()
    (tmp_path / "few").mkdir()
    for name, some in (("tree", texts), ("few", [text for text in texts if text in chosen[1]])):
        (tmp_path / name / "x.txt").write_text(f"\n{SEPARATOR}\n".join(some))
    part = build(tmp_path / "tree", tmp_path / "part", subset="0.3")
    assert part == build(tmp_path / "few", tmp_path / "all")
    with refused("none of the 2000 documents is in the subset 1e-12"):
        build(tmp_path / "tree", tmp_path / "none", subset=1e-12)


def test_new_parameters_leave_old_ids_as_they_were():
    read = {"a.txt": "a" * 64}
    old = parse("bpe", {"vocab_size": 4096}).id(read)
    # of the first release, made without this code
    assert old == "r1:" + hashlib.sha256(
        b'{"column":null,"files":[["a.txt","' + b"a" * 64 + b'"]],"min_frequency":2,'
        b'"recipe":"bpe","special":["<|endoftext|>","<|pad|>"],"split":"train","version":1,'
        b'"vocab_size":4096}'
    ).hexdigest()  # fmt: skip
    for same in ({"subset": 1}, {"subset": "1.0"}, {"errors": "strict"}):
        assert parse("bpe", {"vocab_size": 4096, **same}).id(read) == old
    ids = {
        parse("bpe", {"vocab_size": 4096, **other}).id(read)
        for other in ({"subset": 0.5}, {"subset": 0.25}, {"errors": "replace"}, {})
    }
    assert len(ids) == 4
    half = [parse("bpe", {"vocab_size": 4096, "subset": s}).id(read) for s in (0.5, "0.50", ".5")]
    assert len(set(half)) == 1


@pytest.mark.parametrize("rate", [0, 1.5, -1, "x", "", True, float("nan"), float("inf"), None])
def test_a_rate_is_above_0_and_up_to_1(rate):
    with refused("bpe: subset: expected a part of the documents") as caught:
        parse("bpe", {"vocab_size": 300, "subset": rate})
    assert caught.value.hint == "--subset 0.1"


def test_other_options_are_refused_with_their_place():
    with refused("bpe: errors: expected 'strict' or 'replace', found 'ignore'"):
        parse("bpe", {"vocab_size": 300, "errors": "ignore"})
    with refused(r"bpe: column\[1\]: expected a string"):
        parse("bpe", {"vocab_size": 300, "column": ["prompt", 3]})


def test_bytes_that_are_not_utf8_can_be_replaced(tmp_path):
    bad = b"one \xff two"
    (tmp_path / "x.txt").write_bytes(bad)
    (tmp_path / "x.txt.gz").write_bytes(gzip.compress(bad))
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "' + bad + b'"}\n')
    (tmp_path / "x.csv").write_bytes(b"text\n" + bad + b"\n")
    raw = pa.Array.from_buffers(pa.string(), 1, pa.array([bad], pa.binary()).buffers())
    pq.write_table(pa.table({"text": raw}), tmp_path / "x.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert list(documents(path, errors="replace")) == ["one \ufffd two"]
        with refused(f"'{path.name}': .*invalid UTF-8") as caught:
            list(documents(path))
        assert "--errors replace" in caught.value.hint
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "x.txt").rename(tree / "x.txt")
    build(tree, tmp_path / "out", errors="replace")


def test_several_columns_are_joined_by_a_blank_line(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": "one", "b": "two"}\n{"a": null, "b": "x"}\n')
    assert list(documents(tmp_path / "x.jsonl", ("b", "a"))) == ["two\n\none", "x"]
    with refused("no column 'c', found 'a', 'b'"):
        list(documents(tmp_path / "x.jsonl", ("a", "c")))


def test_a_column_without_text_is_named_whatever_other_files_hold(tmp_path):
    pq.write_table(pa.table({"text": pa.nulls(3, pa.string())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["one two"]}), tmp_path / "b.parquet")
    with refused("'a.parquet': column 'text': expected text, found 3 empty or null rows"):
        build(tmp_path, tmp_path / "out")


def test_a_file_that_vanishes_and_a_full_disk_are_said(tmp_path):
    (tmp_path / "x.txt").write_text("one two")
    recipe = parse("bpe", {"vocab_size": 300})
    out = tmp_path / "out"
    out.mkdir()

    def take_away(done: int, total: int) -> None:
        (tmp_path / "x.txt").unlink(missing_ok=True)

    with refused("'x.txt': can't be read: No such file or directory"):
        recipe.build(tmp_path, ["x.txt"], out, take_away)
    (tmp_path / "x.txt").write_text("one two")
    (out / "tokenizer.json").symlink_to("/dev/full")
    with refused("can't be written: No space left on device") as caught:
        recipe.build(tmp_path, ["x.txt"], out)
    assert "cas gc" in caught.value.hint

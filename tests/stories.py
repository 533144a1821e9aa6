"""Story-like English, generated: the same bytes from the same seed on every Python.

Several thousand words (common ones, compounds, made-up names) in Zipf-like frequencies,
assembled from phrases. Only ``random.Random(seed).random()`` is used: its sequence is
promised, that of ``choice`` and ``shuffle`` is not.
"""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SEPARATOR = "<|endoftext|>"

# ruff: noqa: SIM905 (a list of words is read as words)

_NOUNS = """cat dog bird fish bear mouse rabbit fox tree flower river garden house door window table
chair book ball kite boat train car truck bike hat coat shoe box bag cake apple pear bread soup
cup spoon lamp bed blanket pillow doll drum bell star moon sun cloud rain snow wind hill rock
leaf seed nest cave bridge road shop school park farm barn pond lake sea beach shell sand castle
king queen prince wizard giant dragon robot clown doctor baker farmer sailor teacher mother
father sister brother baby friend neighbor puppy kitten duck frog bee ant spider snake owl
horse cow pig sheep goat hen""".split()
_HEADS = """sun moon star rain snow wind sea sand stone wood leaf fern moss reed thorn berry apple
plum honey milk butter bread sugar candle lantern silver copper iron glass paper feather shadow
whisper thunder river brook marsh meadow hill valley barrow bramble clover daisy poppy ivy cedar
maple willow hazel oak birch otter badger robin raven swan heron finch hedge garden
orchard""".split()
_TAILS = """light fall drop song field house keeper maker wing tail foot path gate bridge well cup
bell basket wheel boat cart bird fly worm fish cat hound cloak hood crown ring stone shell seed
root bloom bark branch nest den burrow cave ledge peak shade glow spark dust mist storm""".split()
_VERBS = """saw found took gave made liked wanted loved helped pushed pulled opened closed painted
washed carried followed chased touched kicked threw caught hid built broke fixed shared lost
kept cleaned watched heard tasted smelled cooked planted picked drew counted lifted dropped
hugged thanked asked told showed taught visited remembered forgot admired borrowed""".split()
_ADJECTIVES = """big little small red blue green yellow old new happy sad brave kind soft hard warm
cold wet dry shiny dark bright loud quiet fast slow pretty funny silly scary gentle clever lazy
hungry sleepy angry proud shy curious strong tiny huge golden wooden broken round heavy""".split()
_PLACES = (
    "in the park",
    "by the river",
    "under the tree",
    "near the old house",
    "at school",
    "on the hill",
    "behind the barn",
    "beside the pond",
    "in the garden",
    "at home",
    "on the beach",
    "inside the box",
    "next to the road",
    "in the kitchen",
    "across the bridge",
    "far away",
    "all day long",
    "before dinner",
    "after lunch",
    "in the morning",
    "at night",
    "with a smile",
    "very carefully",
    "again and again",
    "for the first time",
    "without a sound",
    "together",
)
_SAYINGS = (
    "Can you help me?",
    "Thank you so much!",
    "I don't know what to do.",
    "Let's play together!",
    "Look at that!",
    "It's not yours.",
    "We'll find it, I'm sure.",
    "Please be careful.",
    "You're my best friend.",
    "What's in there?",
    "I've never seen one before!",
    "That isn't very nice.",
    "Don't be afraid.",
    "I'd like to try.",
)
_OPENINGS = (
    "Once upon a time, there was",
    "One day, there lived",
    "Long ago, there was",
    "In a small town, there was",
)
_ENDINGS = (
    "And they all lived happily ever after.",
    "From that day on, they were the best of friends.",
    "It was the best day ever.",
    "They learned that sharing is good.",
    "Then everyone went to sleep.",
)
_ONSETS = "b br c cl d dr f fl g gr h j k l m n p pr r s st t tr v w z th sh".split()
_NUCLEI = "a e i o u ai ee oo ia".split()
_CODAS = " n l r s m ck x nd lly ra ".split(" ")
_POOL = 6000  # phrases of a kind


class _Words:
    """Words and phrases that all stories share."""

    def __init__(self) -> None:
        rand = random.Random(20240229).random
        self.names = sorted(
            {
                (_ONSETS[int(rand() * len(_ONSETS))] + _NUCLEI[int(rand() * len(_NUCLEI))]
                 + _ONSETS[int(rand() * len(_ONSETS))] + _NUCLEI[int(rand() * len(_NUCLEI))]
                 + _CODAS[int(rand() * len(_CODAS))]).capitalize()
                for _ in range(4000)
            }
        )  # fmt: skip
        compounds = [head + tail for head in _HEADS for tail in _TAILS]
        keyed = sorted((rand(), word) for word in compounds)
        self.nouns = _NOUNS + [word for _, word in keyed]
        self.things = [self._thing(rand) for _ in range(_POOL)]
        self.acts = [f"{_pick(_VERBS, rand)} {_pick(self.things, rand)}" for _ in range(_POOL)]
        self.ends = [f" {_PLACES[int(rand() * len(_PLACES))]}." for _ in range(97)] + [
            f" and {_pick(_VERBS, rand)} {_pick(self.things, rand)}." for _ in range(_POOL)
        ]

    def _thing(self, rand) -> str:
        article = "the" if rand() < 0.6 else "her" if rand() < 0.4 else "his"
        adjective = f"{_pick(_ADJECTIVES, rand)} " if rand() < 0.5 else ""
        number = f"{int(rand() * 30) + 2} " if rand() < 0.03 else ""
        noun = _pick(self.nouns, rand)
        return f"{article} {number}{adjective}{noun}{'s' if number else ''}"


def _pick(words, rand) -> str:
    """A word; the first ones much more often."""
    r = rand()
    return words[int(r * r * r * len(words))]


@cache
def _words() -> _Words:
    return _Words()


def stories(n: int | None, seed: int) -> Iterator[str]:
    """Yield *n* stories (None: without end) of about 700 characters, in paragraphs."""
    words = _words()
    acts, ends, names, things = words.acts, words.ends, words.names, words.things
    many = len(acts)
    rand = random.Random(seed).random
    made = 0
    while n is None or made < n:
        made += 1
        hero, friend = _pick(names, rand), _pick(names, rand)
        subjects = (
            hero,
            hero,
            friend,
            "They",
            "Then she",
            "So he",
            f"But {friend}",
            f"{hero} and {friend}",
        )
        out = [f"{_OPENINGS[int(rand() * 4)]} {_pick(things, rand)} named {hero}."]
        for _ in range(4 + int(rand() * 17)):
            r = rand()
            end = rand()
            out.append(
                f"{subjects[int(rand() * 8)]} {acts[int(r * r * many)]}"
                f"{ends[int(end * end * many)]}"
            )
            if r < 0.12:
                out.append(f'"{_SAYINGS[int(rand() * 14)]}" said {hero}.')
            elif r > 0.9:
                out[-1] += "\n\n"
        out.append(_ENDINGS[int(rand() * 5)])
        yield " ".join(out).replace("\n\n ", "\n\n")


def write_txt(path: Path, bytes_target: int, seed: int) -> int:
    """Write stories, each followed by a line ``<|endoftext|>``, of at least that many bytes.

    Return the number of stories.
    """
    written = count = 0
    with Path(path).open("wb") as file:
        for story in stories(None, seed):
            written += file.write(f"{story}\n{SEPARATOR}\n".encode())
            count += 1
            if written >= bytes_target:
                return count
    raise AssertionError


def write_jsonl(path: Path, n: int, seed: int, column: str = "text") -> None:
    """Write *n* stories, one object a line."""
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for story in stories(n, seed):
            file.write(json.dumps({column: story}) + "\n")


def write_parquet(path: Path, n: int, seed: int, column: str = "text", group: int = 1000) -> None:
    """Write *n* stories as rows, in row groups of *group*."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(column, pa.string())])
    source = stories(n, seed)
    with pq.ParquetWriter(path, schema) as writer:
        while rows := [story for _, story in zip(range(group), source, strict=False)]:
            writer.write_table(pa.table({column: rows}, schema=schema))

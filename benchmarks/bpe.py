"""The row of recipe bpe: a tokenizer is trained on a text file of stories."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from .measure import Contestant, NotDone, Run
from .place import PYTHON, ROOT, Place, hash_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TEXT = 400_000_000  # bytes

MAKE = """\
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests import stories
Path(sys.argv[2]).mkdir()
stories.write_txt(Path(sys.argv[2]) / "train.txt", int(sys.argv[3]), seed=1)
"""

OURS = """\
import sys
from pathlib import Path
from cas.recipes import parse
tree, out = map(Path, sys.argv[1:])
parse("bpe", {"vocab_size": 4096}).build(tree, ["train.txt"], out)
"""

THEIRS = """\
import json, sys
from pathlib import Path
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
def stories():
    story = []
    with open(Path(sys.argv[1]) / "train.txt", encoding="utf-8", newline="") as lines:
        for line in lines:
            if line == "<|endoftext|>\\n":
                yield "".join(story).strip("\\n")
                story = []
            else:
                story.append(line)
special = ["<|endoftext|>", "<|pad|>"]
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.train_from_iterator(stories(), trainers.BpeTrainer(
    vocab_size=4096, min_frequency=2, special_tokens=special, show_progress=False,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
Path(sys.argv[2], "trained.json").write_text(tokenizer.to_str())
"""

# The same tokenizer in the layout of ours, whichever the library's version writes.
LAY_OUT = """\
import json, sys
from pathlib import Path
from cas.recipes.layout import tokenizer_json
model = json.loads(Path(sys.argv[1], "trained.json").read_text())["model"]
vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__)
merges = [tuple(m.split(" ") if isinstance(m, str) else m) for m in model["merges"]]
made = tokenizer_json(vocabulary, merges, ["<|endoftext|>", "<|pad|>"])
Path(sys.argv[1], "tokenizer.json").write_bytes(made)
"""


@contextmanager
def training(place: Place) -> Iterator[list[Contestant]]:
    """Train on 400 MB of stories, from the file to the tokenizer."""
    data = place.root / "data"
    place.clear_caches()
    place.run(PYTHON, "-c", MAKE, str(ROOT), str(data), str(TEXT), cwd=ROOT)
    hashes: dict[str, str] = {}

    def check_ours(_: Run) -> dict[str, float]:
        return _same(place, "cas", hashes)

    def check_theirs(run: Run) -> dict[str, float]:
        place.run(PYTHON, "-c", LAY_OUT, str(place.root / "library"), cwd=ROOT)
        return _same(place, "library", hashes)

    yield [
        Contestant(
            name="cas, recipe bpe",
            argv=[PYTHON, "-c", OURS, str(data), str(place.root / "cas")],
            role="cas",
            env=place.env(),
            cwd=place.root,
            watched=True,
            before=_fresh(place, "cas"),
            check=check_ours,
        ),
        Contestant(
            name="tokenizers.train_from_iterator",
            argv=[PYTHON, "-c", THEIRS, str(data), str(place.root / "library")],
            env=place.env(),
            cwd=place.root,
            watched=True,
            before=_fresh(place, "library"),
            check=check_theirs,
        ),
    ]


def _fresh(place: Place, name: str) -> Callable[[], None]:
    def make() -> None:
        place.clear(name)
        (place.root / name).mkdir()

    return make


def _same(place: Place, name: str, hashes: dict[str, str]) -> dict[str, float]:
    """Return that the bytes are those of the other; raise NotDone where they are not."""
    path: Path = place.root / name / "tokenizer.json"
    hashes[name] = hash_file(path)
    if len(set(hashes.values())) > 1:
        raise NotDone(f"expected the same tokenizer.json, found {hashes}")
    return {"same bytes": 1.0} if len(hashes) > 1 else {}

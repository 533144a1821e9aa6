"""The row of token shards: a dataset and a tokenizer become ids on disk."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .measure import Contestant, NotDone, Run
from .place import CAS, PYTHON, ROOT, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = 400_000_000  # bytes
LENGTH = 818  # of a story and its share of the file, on average

MAKE = """\
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests import stories
place = Path(sys.argv[2])
place.mkdir()
stories.write_parquet(place / "train.parquet", int(sys.argv[3]), seed=1, group=10_000)
import pyarrow.parquet as pq
print(sum(len(t.encode()) for b in pq.ParquetFile(place / "train.parquet").iter_batches()
          for t in b.column("text").to_pylist()))
"""

MAP = """\
import sys
from datasets import load_dataset
from transformers import PreTrainedTokenizerFast
tokenizer = PreTrainedTokenizerFast.from_pretrained(sys.argv[2])
end = tokenizer.eos_token_id
def encode(rows):
    return {"input_ids": [ids + [end] for ids in tokenizer(rows["text"])["input_ids"]]}
rows = load_dataset("parquet", data_files=sys.argv[1], cache_dir=sys.argv[3])["train"]
made = rows.map(encode, batched=True, num_proc=2, remove_columns=["text"])
print(len(made), made.cache_files[0]["filename"])
"""

COUNT = """\
import sys
from datasets import Dataset
from pathlib import Path
folder = Path(sys.argv[1]).parent
print(sum(len(ids) for file in sorted(folder.glob("cache-*.arrow"))
          for ids in Dataset.from_file(str(file)).with_format("numpy")["input_ids"]))
"""


@contextmanager
def shards(place: Place) -> Iterator[list[Contestant]]:
    """Encode 400 MB of stories with a tokenizer of 4096 tokens, on two cores."""
    data, project = place.root / "data", place.root / "project"
    place.clear_caches()
    size = int(place.run(PYTHON, "-c", MAKE, str(ROOT), str(data), str(TEXT // LENGTH), cwd=ROOT))
    project.mkdir()
    place.run(CAS, "init", cwd=project)
    place.run(CAS, "add", str(data), "--name", "datasets/stories", cwd=project)
    recipe = ("--recipe", "bpe", "--input", "stories", "--vocab-size", "4096")
    place.run(CAS, "add", "tokenizers/t", *recipe, cwd=project)
    tokenizer = place.run(CAS, "path", "tokenizers/t", cwd=project).strip()
    words = ["add", "tokens/t", "--input", "stories", "--tokenizer", "tokenizers/t"]
    made: dict[str, int] = {}

    def forget() -> None:
        if (project / "assets/datasets/tokens/t").is_symlink():
            place.run(CAS, "rm", "tokens/t", cwd=project)
        place.clear("store/recipes")

    def check_cas(run: Run) -> dict[str, float]:
        view = project / "assets/datasets/tokens/t"
        meta = json.loads((view / "meta.json").read_bytes())
        if meta["bytes"] != size:
            raise NotDone(f"expected {size} bytes of text, found {meta['bytes']}")
        made.setdefault("tokens", meta["tokens"])
        return _rate(run, size)

    def check_map(run: Run) -> dict[str, float]:
        _, _, where = run.stdout.strip().rpartition("\n")[2].partition(" ")
        tokens = int(place.run(PYTHON, "-c", COUNT, where, cwd=ROOT))
        if tokens != made.setdefault("tokens", tokens):
            raise NotDone(f"expected {made['tokens']} tokens, found {tokens}")
        return _rate(run, size)

    cache = place.root / "map"
    yield [
        Contestant(
            name="cas add tokens/…",
            argv=[CAS, *words],
            role="cas",
            env=place.env(),
            cwd=project,
            before=forget,
            check=check_cas,
        ),
        Contestant(
            name="datasets.map, 2 processes",
            argv=[PYTHON, "-c", MAP, str(data / "train.parquet"), tokenizer, str(cache)],
            env=place.env(TOKENIZERS_PARALLELISM="false"),
            cwd=project,
            before=lambda: _fresh(place, cache),
            check=check_map,
        ),
    ]


def _fresh(place: Place, cache: Path) -> None:
    place.clear(cache.name)


def _rate(run: Run, size: int) -> dict[str, float]:
    return {"MB per CPU-s": size / 1e6 / run.cpu}

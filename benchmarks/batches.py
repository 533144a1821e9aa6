"""The rows of `cas.load_training_data`: batches, the first one, and a small training run."""

from __future__ import annotations

import subprocess
import sysconfig
import venv
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal

from .measure import Contestant, NotDone, Run
from .place import CAS, HOME, PYTHON, ROOT, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    Mode = Literal["packed", "padded"]

TEXT = 20_000_000  # bytes

# what litdata needs beside torch, of which it would bring another, and gigabytes of CUDA
NEEDED = ["lightning-utilities", "boto3", "obstore", "pillow", "requests", "tifffile"]

MAKE = """\
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests import stories
place = Path(sys.argv[2])
place.mkdir()
stories.write_txt(place / "stories-train.txt", int(sys.argv[3]), seed=1)
stories.write_txt(place / "stories-valid.txt", int(sys.argv[3]) // 50, seed=2)
"""

# what datasets.map leaves behind, made of the same ids: rows of 256, grouped or padded
PREPARE = """\
import sys, torch, cas
import numpy as np, pyarrow as pa
from datasets import Dataset
for mode in ("packed", "padded"):
    train, _ = cas.load_training_data("stories", "tokenizers/t", max_length=256, mode=mode)
    rows = train.dataset
    batch = rows.take(np.arange(len(rows)))
    columns = {}
    for name, tensor in batch.items():
        width = np.int8 if name == "attention_mask" else np.int64 if name == "labels" else np.int32
        flat = pa.array(tensor.numpy().astype(width).ravel())
        ends = pa.array(np.arange(0, len(flat) + 1, 256, dtype=np.int32))
        columns[name] = pa.ListArray.from_arrays(ends, flat)
    Dataset(pa.table(columns)).save_to_disk(f"{sys.argv[1]}/{mode}")
    if mode == "packed":
        batch["input_ids"].numpy().astype(np.uint16).tofile(f"{sys.argv[1]}/train.bin")
"""

CAS_LOADER = """\
import cas
loader, _ = cas.load_training_data("stories", "tokenizers/t", max_length=256, batch_size=16,
                                   mode=sys.argv[1])
"""
MAP_LOADER = """\
from datasets import load_from_disk
rows = load_from_disk(f"{sys.argv[2]}/{sys.argv[1]}").with_format("torch")
loader = torch.utils.data.DataLoader(rows, batch_size=16, shuffle=True)
"""
GET_BATCH = """\
import numpy as np
data = f"{sys.argv[2]}/train.bin"
def get_batch():
    rows = np.memmap(data, dtype=np.uint16, mode="r")
    ix = torch.randint(len(rows) - 256, (16,))
    x = torch.stack([torch.from_numpy(rows[i : i + 256].astype(np.int64)) for i in ix])
    y = torch.stack([torch.from_numpy(rows[i + 1 : i + 257].astype(np.int64)) for i in ix])
    return x, y
class Loader:
    def __iter__(self):
        for _ in range(2000):
            yield get_batch()
loader = Loader()
"""
LITDATA = """\
from litdata import StreamingDataLoader, StreamingDataset
from litdata.streaming.item_loader import TokensLoader
rows = StreamingDataset(f"{sys.argv[2]}/litdata", item_loader=TokensLoader(block_size=256),
                        shuffle=True)
loader = StreamingDataLoader(rows, batch_size=16)
"""
OPTIMIZE = """\
import sys
import numpy as np, torch
from litdata import optimize
from litdata.streaming.item_loader import TokensLoader
rows = np.fromfile(f"{sys.argv[1]}/train.bin", np.uint16)
pieces = [torch.from_numpy(one.astype(np.int32)) for one in np.array_split(rows, 64)]
def read(n):
    yield pieces[n]
if __name__ == "__main__":
    optimize(read, list(range(64)), f"{sys.argv[1]}/litdata", chunk_size=256 * 4000,
             item_loader=TokensLoader(block_size=256), num_workers=1)
"""

# passes until two CPU-seconds are over, the first 20 batches not counted
LOOP = """\
import sys, time
import torch
torch.set_num_threads(1)
{loader}
count = 0
while True:
    for batch in loader:
        count += 1
        if count == 20:
            start = time.process_time()
        if count % 20 == 0 and time.process_time() - start > 2:
            break
    else:
        continue
    break
first = next(iter(batch.values())) if isinstance(batch, dict) else batch
assert (first[0] if isinstance(first, tuple | list) else first).shape == (16, 256)
print((count - 20) / (time.process_time() - start))
"""

FIRST = """\
import sys, time
import torch
start, cpu = time.perf_counter(), time.process_time()
{loader}
batch = next(iter(loader))
print((time.perf_counter() - start) * 1e3, (time.process_time() - cpu) * 1e3)
assert batch["input_ids"].shape == (16, 256)
"""

TRAIN = """\
import sys, time
import torch
from transformers import GPT2Config, GPT2LMHeadModel
torch.set_num_threads(1)
{loader}
torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(
    vocab_size=1024, n_positions=256, n_embd=192, n_layer=2, n_head=6, resid_pdrop=0,
    embd_pdrop=0, attn_pdrop=0))
optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0)
steps, losses, counted = 200, [], 0
start, cpu = time.perf_counter(), time.process_time()
for step, batch in zip(range(steps), loader):
    for group in optimizer.param_groups:
        group["lr"] = 5e-3 * min(1, (step + 1) / 20) * (1 - 0.9 * step / steps)
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    counted += int((batch["labels"][:, 1:] != -100).sum())
assert len(losses) == steps
print(sum(losses[-10:]) / 10, counted / (time.perf_counter() - start),
      counted / (time.process_time() - cpu))
"""


def _prepare(place: Place, vocabulary: int = 4096) -> dict[str, str]:
    """Make the stories, their tokenizer and shards, and what the others read."""
    data, project = place.root / "data", place.root / "project"
    place.clear_caches()
    place.run(PYTHON, "-c", MAKE, str(ROOT), str(data), str(TEXT), cwd=ROOT)
    project.mkdir()
    env = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    place.run(CAS, "init", cwd=project)
    place.run(CAS, "add", str(data), "--name", "datasets/stories", cwd=project)
    recipe = ("--recipe", "bpe", "--input", "stories", "--vocab-size", str(vocabulary))
    place.run(CAS, "add", "tokenizers/t", *recipe, cwd=project)
    place.run(PYTHON, "-c", PREPARE, str(place.root), cwd=project, **env)
    return place.env(**env)


def _contestant(
    place: Place, env: dict[str, str], name: str, code: str, mode: str, keys: tuple[str, ...],
    *, role: Literal["cas", "peer"] = "peer", python: str = PYTHON,
) -> Contestant:  # fmt: skip
    def check(run: Run) -> dict[str, float]:
        figures = [float(word) for word in run.stdout.split()[-len(keys) :]]
        return dict(zip(keys, figures, strict=True))

    return Contestant(
        name=name,
        argv=[python, "-c", code, mode, str(place.root)],
        role=role,
        env=env,
        cwd=place.root / "project",
        check=check,
    )


@contextmanager
def batches(place: Place, mode: Mode) -> Iterator[list[Contestant]]:
    """Pass over the stories in batches of 16 rows of 256; batches per CPU-second count."""
    env = _prepare(place)
    make = partial(_contestant, place, env, mode=mode, keys=("batches per CPU-s",))
    contestants = [
        make("cas.load_training_data", LOOP.format(loader=CAS_LOADER), role="cas"),
        make("datasets.map, default collate", LOOP.format(loader=MAP_LOADER)),
    ]
    if mode == "packed":
        contestants.append(make("nanoGPT's get_batch", LOOP.format(loader=GET_BATCH)))
        python, said = find_litdata()
        if python:
            program = place.root / "optimize.py"  # its worker imports what it was started from
            program.write_text(OPTIMIZE)
            place.run(python, str(program), str(place.root), cwd=place.root)
            code = LOOP.format(loader=LITDATA)
            contestants.append(make(f"litdata ({said})", code, python=python))
        else:
            place.note = f"{place.note} {said}".strip()
    yield contestants


@contextmanager
def first_batch(place: Place) -> Iterator[list[Contestant]]:
    """Get the first batch where all is prepared, from the moment that torch is imported."""
    env = _prepare(place)
    make = partial(_contestant, place, env, mode="packed", keys=("first, ms", "first, CPU ms"))
    yield [
        make("cas.load_training_data", FIRST.format(loader=CAS_LOADER), role="cas"),
        make("datasets.map, made before", FIRST.format(loader=MAP_LOADER)),
    ]


@contextmanager
def training(place: Place) -> Iterator[list[Contestant]]:
    """Train a GPT of two layers for 200 steps, packed by cas and padded as datasets.map does."""
    env = _prepare(place, 1024)
    keys = ("loss", "tokens that count per s", "per CPU-s")

    def make(name: str, loader: str, mode: Mode, role: Literal["cas", "peer"]) -> Contestant:
        one = _contestant(place, env, name, TRAIN.format(loader=loader), mode, keys, role=role)

        def check(run: Run) -> dict[str, float]:
            figures = one.check(run) or {}
            if not figures["loss"] < 3.0:
                raise NotDone(f"{name}: expected a loss below 3.0, found {figures['loss']}")
            return figures

        return Contestant(name=name, argv=one.argv, role=role, env=env, cwd=one.cwd, check=check)

    yield [
        make("cas.load_training_data, packed", CAS_LOADER, "packed", "cas"),
        make("datasets.map, padded", MAP_LOADER, "padded", "peer"),
    ]


def find_litdata() -> tuple[str | None, str]:
    """Return a Python with litdata and cas's torch, or None and why not.

    It is installed into ``.bench/litdata`` on first use.
    """
    folder = HOME / "litdata"
    python = folder / "bin/python"
    show = "import importlib.metadata as m; import litdata; print(m.version('litdata'))"
    if not python.exists():
        try:
            venv.create(folder, with_pip=True, clear=True)
            (site,) = folder.glob("lib/python*/site-packages")
            (site / "torch.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
            pip = [str(python), "-m", "pip", "install", "--quiet"]
            for words in (["--no-deps", "litdata"], NEEDED):
                subprocess.run([*pip, *words], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            return None, f"litdata could not be installed: {said.strip()[-200:]}"
    said = subprocess.run([python, "-c", show], capture_output=True, text=True, check=False)
    if said.returncode:
        return None, f"litdata can't be imported: {said.stderr.strip()[-200:]}"
    return str(python), said.stdout.strip()

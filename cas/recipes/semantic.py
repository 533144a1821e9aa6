"""The semantic hash: SHA-256 of all of a ``tokenizer.json`` that decides ids.

It covers the vocabulary by id, merges, model options, added tokens, normalizer,
pre-tokenizer and post-processor, as canonical JSON (sorted keys, no spaces, UTF-8). It
leaves out what decides no id: truncation, padding, decoder, offsets; and what differs only
in layout between versions of the library: merges as ``"a b"`` or ``["a", "b"]``, an option
that is absent, null or at its default, a step that adds nothing. So a tokenizer that
transformers loaded has the hash of the file that it was loaded from.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cas.digest import hash_bytes
from cas.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.digest import Digest

__all__ = ["canonical", "read_meaning", "semantic_hash"]

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_TEMPLATES = ("single", "pair")


def canonical(value: object) -> bytes:
    """Return *value* as canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def semantic_hash(tokenizer_json: bytes) -> Digest:
    """Return the hash of all that decides ids in the bytes of a ``tokenizer.json``.

    Raises:
        RecipeError: it is not a tokenizer.json.
    """
    return read_meaning(tokenizer_json)[1]


def read_meaning(tokenizer_json: bytes) -> tuple[dict[str, Any], Digest]:
    """Return what a ``tokenizer.json`` says, and its ``semantic_hash``; raise RecipeError."""
    try:
        table = json.loads(tokenizer_json)
        return table, hash_bytes(canonical(_meaning(table)))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        found = f"it has no {error}" if isinstance(error, KeyError) else f"{error}"
        message = f"expected a tokenizer.json, found something else: {found:.120}"
        raise RecipeError(message) from error


def _meaning(tokenizer: Mapping[str, Any]) -> dict[str, object]:
    return {
        "added_tokens": _added(tokenizer),
        "model": _model(tokenizer["model"]),
        "normalizer": _step(tokenizer.get("normalizer")),
        "post_processor": _post_processor(tokenizer.get("post_processor")),
        "pre_tokenizer": _step(tokenizer.get("pre_tokenizer")),
    }


def _added(tokenizer: Mapping[str, Any]) -> list[list[object]]:
    tokens = [
        {"id": token["id"], "content": token["content"]}
        | {flag: bool(token.get(flag)) for flag in _FLAGS}
        for token in tokenizer.get("added_tokens") or ()
    ]
    # Where nothing is normalized, the flag only says which tokens are looked for first.
    if tokenizer.get("normalizer") is None and len({t["normalized"] for t in tokens}) == 1:
        tokens = [token | {"normalized": False} for token in tokens]
    return sorted([*token.values()] for token in tokens)


def _model(model: Mapping[str, Any]) -> dict[str, object]:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary = sorted(zip(vocabulary.values(), vocabulary, strict=True))
    meaning: dict[str, object] = {"type": model.get("type") or "BPE", "vocab": vocabulary}
    if "merges" in model:
        meaning["merges"] = [_merge(merge) for merge in model["merges"]]
    for key, value in model.items():
        # "" is what the oldest files write for no prefix, no suffix; a dropout of 0 is none
        default = value is None or value is False or value == "" or (key == "dropout" and not value)
        if key not in meaning and not default:
            meaning[key] = value
    return meaning


def _merge(merge: object) -> list[str]:
    pair = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(pair, list) or len(pair) != 2:
        message = f"merge {merge!r:.60}"
        raise ValueError(message)
    return pair


def _post_processor(step: Any) -> object:
    """Return a post-processor that adds tokens, or None: ByteLevel only trims offsets."""
    if step is None or step["type"] == "ByteLevel":
        return None
    if step["type"] == "Sequence":
        return _sequence([_post_processor(one) for one in step["processors"]])
    if step["type"] == "TemplateProcessing":
        names = [[piece.get("Sequence", {}).get("id") for piece in step[k]] for k in _TEMPLATES]
        if names == [["A"], ["A", "B"]]:
            return None
    return step


def _sequence(steps: list[object]) -> object:
    """Return what steps one after the other come to."""
    steps = [step for step in steps if step is not None]
    return {"type": "Sequence", "steps": steps} if len(steps) > 1 else next(iter(steps), None)


def _step(step: Any) -> object:
    """Return a normalizer or pre-tokenizer without what decides no id."""
    if step is None:
        return None
    if step["type"] == "Sequence":
        return _sequence([_step(one) for one in step[next(k for k in step if k != "type")]])
    meaning = {key: value for key, value in step.items() if key not in ("trim_offsets", "str_rep")}
    if step["type"] == "ByteLevel":
        meaning.setdefault("use_regex", True)
    if step["type"] == "Metaspace" and "add_prefix_space" in meaning:
        scheme = "always" if meaning.pop("add_prefix_space") else "never"
        meaning.setdefault("prepend_scheme", scheme)
    if step["type"] == "Metaspace":
        meaning.setdefault("split", True)
    return meaning

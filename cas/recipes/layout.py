"""The three files of a tokenizer, in one layout of our own.

The layout is fixed here and not by the library, of which three write the same tokenizer
in three ways: keys in this order, two spaces of indentation, the vocabulary by id, merges as
``"a b"`` (every version reads that), UTF-8, a line feed at the end. Nothing of truncation,
padding, versions, times or paths.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["BYTES", "CHARACTERS", "roles", "tokenizer_json", "write_tokenizer"]

_SHOWN = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}

_HIDDEN = [byte for byte in range(256) if byte not in _SHOWN]

CHARACTERS = tuple(
    chr(byte if byte in _SHOWN else 0x100 + _HIDDEN.index(byte)) for byte in range(256)
)
"""The character that stands for each byte, as in GPT-2."""

BYTES = frozenset(CHARACTERS)

_ROLES: Mapping[str, frozenset[str]] = {
    "bos_token": frozenset({"bos", "s", "beginoftext", "startoftext"}),
    "eos_token": frozenset({"eos", "/s", "eot", "endoftext"}),
    "unk_token": frozenset({"unk", "unknown"}),
    "sep_token": frozenset({"sep", "separator"}),
    "pad_token": frozenset({"pad", "padding"}),
    "cls_token": frozenset({"cls"}),
    "mask_token": frozenset({"mask"}),
}
_WORD = re.compile(r"[a-z]+")


def roles(special: Sequence[str]) -> dict[str, str]:
    """Return which special token has which role, by their names.

    A word of the name decides (``<pad>``, ``[PAD]``, ``<|pad_token|>``, ``</s>``), the first
    token wins. As in GPT-2, ``endoftext`` also begins documents and stands for the unknown
    where no other token does.
    """
    found: dict[str, str] = {}
    for role, names in _ROLES.items():
        for token in special:
            if names & _names(token):
                found[role] = token
                break
    everything = next((token for token in special if "endoftext" in _names(token)), None)
    if everything is not None:
        for role in ("bos_token", "unk_token"):
            found.setdefault(role, everything)
    return {role: found[role] for role in _ROLES if role in found}


def _names(token: str) -> set[str]:
    inner = token.lower().strip("<>[]|{}()")
    words = _WORD.findall(inner)
    # "s" is a name only when it is all there is: "<s>", not "<|john's|>"
    return {inner, *(word for word in words if len(word) > 1), "".join(words)} - (
        {"s"} if inner != "s" else set()
    )


def tokenizer_json(
    vocabulary: Sequence[str], merges: Iterable[tuple[str, str]], special: Sequence[str]
) -> bytes:
    """Return the bytes of tokenizer.json.

    *vocabulary* has the tokens by id, *special* first; *merges* the pairs in their order.
    """
    by_token = {token: number for number, token in enumerate(vocabulary)}
    return _bytes(_tokenizer(by_token, [" ".join(merge) for merge in merges], special))


def write_tokenizer(
    out: Path,
    vocabulary: Sequence[str],
    merges: Iterable[tuple[str, str]],
    special: Sequence[str],
) -> bytes:
    """Write the files of a tokenizer into *out*; return the bytes of tokenizer.json.

    The arguments are those of ``tokenizer_json``.
    """
    tokenizer = tokenizer_json(vocabulary, merges, special)
    named = roles(special)
    others = [token for token in special if token not in named.values()]
    special_map: dict[str, object] = {**named}
    if others:
        special_map["additional_special_tokens"] = others
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": {str(i): _token(text) for i, text in enumerate(special)},
        **special_map,
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (out / "tokenizer.json").write_bytes(tokenizer)
    (out / "tokenizer_config.json").write_bytes(_bytes(config))
    (out / "special_tokens_map.json").write_bytes(_bytes(special_map))
    return tokenizer


def _tokenizer(
    vocabulary: Mapping[str, int], merges: Sequence[str], special: Sequence[str]
) -> dict[str, object]:
    def byte_level(*, trim_offsets: bool) -> dict[str, object]:
        return {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": trim_offsets,
            "use_regex": True,
        }

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **_token(text)} for i, text in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": byte_level(trim_offsets=True),
        "post_processor": byte_level(trim_offsets=False),
        "decoder": byte_level(trim_offsets=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def _token(text: str) -> dict[str, object]:
    return {
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _bytes(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()

"""Mask: take secrets out of the text that a record keeps.

A command line, a diff and a list of settings hold tokens more often than people think, and
records travel with git and rsync. What looks like a credential becomes ``***``: known forms
of tokens, passwords in addresses, signatures of signed URLs, private keys, and the value of
a name that says what it is. ``eos_token="<|endoftext|>"`` is not one, and stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["mask", "mask_argv"]

MASK = "***"

_FORMS = re.compile(
    r"""\bhf_[A-Za-z0-9]{16,} | \bapi_org_[A-Za-z0-9]{16,}
    | \bsk-[A-Za-z0-9_-]{16,} | \b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}
    | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_[A-Za-z0-9_]{20,} | \bglpat-[A-Za-z0-9_-]{16,}
    | \bxox[abeoprs]-[A-Za-z0-9-]{10,} | \bA(?:KIA|SIA)[A-Z0-9]{16}\b | \bAIza[A-Za-z0-9_-]{30,}
    | \bpypi-[A-Za-z0-9_-]{16,} | \bnpm_[A-Za-z0-9]{20,} | \bwandb_v1_[A-Za-z0-9_]{16,}
    | \beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*
    """,
    re.VERBOSE,
)
_KEY_BLOCK = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_ADDRESS = re.compile(
    r"(\b[a-z][a-z0-9+.-]{1,20}://[^/\s:@'\"]{0,200}:)[^/\s@'\"]{1,500}(?=@)", re.I
)
_SIGNED = re.compile(
    r"([?&](?:X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|X-Goog-Signature|Signature"
    r"|sig|token|access_token|Key-Pair-Id)=)[^&\s'\"]+",
    re.I,
)
_BEARER = re.compile(r"(\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{12,}", re.I)
_WORD = (
    r"(?:passw(?:or)?d|passphrase|secret(?:[_-]?(?:access)?[_-]?key)?|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|credentials?|(?:auth|access|api|bearer|refresh|hf|hub|github|gitlab|wandb"
    r"|session|secret|login|huggingface)[_-]?token)"
)
# NAME=value, NAME: value, "name": "value"; a value in code is masked only in quotes
_NAMED = re.compile(
    rf"((?:\b|_){_WORD}\b[\"']?\s*[:=]\s*)(?:(?P<q>[\"'])(?!\*\*\*)[^\"'\n]{{4,}}(?P=q)"
    r"|(?<==)[^\s\"'(){}\[\],]{6,}(?=\s|$))",
    re.I,
)
_OPTION = re.compile(rf"-{{1,2}}(?:[\w-]*[_-])?(?:{_WORD}|token|pwd)", re.I)
_TEXT_TOKEN = re.compile(
    r"(?:pad|eos|bos|unk|sep|cls|mask|special|image|audio|stop)[_-]token", re.I
)


def mask(text: str) -> str:
    """Return *text* with what looks like a secret made ``***``."""
    text = _KEY_BLOCK.sub(rf"\1{MASK}\2", text)
    text = _ADDRESS.sub(rf"\1{MASK}", text)
    text = _SIGNED.sub(rf"\1{MASK}", text)
    text = _BEARER.sub(rf"\1{MASK}", text)
    text = _FORMS.sub(MASK, text)
    return _NAMED.sub(lambda m: f"{m[1]}{m['q'] or ''}{MASK}{m['q'] or ''}", text)


def mask_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """Return a command line with its secrets masked, also ``--token X`` and ``--token=X``."""
    result: list[str] = []
    hide = False
    for word in argv:
        if hide and not word.startswith("--"):
            result.append(MASK)
            hide = False
            continue
        option, equals, value = word.partition("=")
        secret = bool(_OPTION.fullmatch(option)) and not _TEXT_TOKEN.search(option)
        hide = secret and not equals
        result.append(f"{option}={MASK}" if secret and value else mask(word))
    return tuple(result)

"""Page: the document, the style and the scripts as one HTML file.

The policy in its head lets only this style and this script run, by their SHA-256, and lets
nothing be fetched. The document is JSON in which no ``<`` stands, so no text in it can end
the element around it.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["page"]

SCRIPTS = ("dom", "data", "chart", "layers", "lineage", "board", "runs", "assets", "main")
"""In the order in which they stand in the page; later ones use earlier ones."""


def page(document: Mapping[str, Any]) -> str:
    """Return the page of what ``collect`` returned."""
    here = Path(__file__).parent
    style = (here / "page.css").read_text("utf-8")
    parts = "\n".join((here / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{parts}}})();\n'
    data = json.dumps(document, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    title = escape(f"{document['project']}: experiments".encode("utf-8", "replace").decode())
    policy = (
        f"default-src 'none'; style-src {_allowed(style)}; script-src {_allowed(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header id="head"></header>
<main id="main" tabindex="-1"><noscript>This page shows its tables and plots by a script of \
its own; it needs JavaScript.</noscript></main>
<script id="data" type="application/json">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _allowed(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"

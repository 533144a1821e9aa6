"""Draw: a lineage as lines for a terminal, as Mermaid, and as one SVG."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["as_mermaid", "as_svg", "as_tree", "plain"]

MOST_EXPERIMENTS = 20  # below one asset, on a terminal
WIDTH, HEIGHT, GAP_X, GAP_Y = 250, 44, 70, 16  # px of a box, and between boxes
LETTERS = 34  # of a name that fit into a box


def as_tree(found: Mapping[str, Any]) -> list[str]:
    """Return the lines of a lineage: its root, then what it was made of and what was made of it.

    Of the experiments below one asset that made nothing the first 20 are shown and the others
    counted; what stands above already is not drawn again.
    """
    nodes = {node["id"]: node for node in found["nodes"]}
    sources, targets = _neighbours(found)
    ways = [("up", sources, "made of"), ("down", targets, "went into")]
    named = nodes[found["root"]]["name"]
    roots = [found["root"], *(n for n in nodes if nodes[n]["name"] == named)]
    seen: set[str] = set()
    lines: list[str] = []
    for root in roots:  # the others are of --any: earlier trees of the name
        if root in seen:
            continue
        seen.add(root)
        lines.append(label(nodes[root]))
        for way, edges, title in ways:
            if found["direction"] == "both" and edges.get(root):
                lines.append(title)
            if found["direction"] in (way, "both"):
                lines += _branches(root, nodes, edges, seen)
    return lines


def label(node: Mapping[str, Any]) -> str:
    """Return one line on a node."""
    if node["type"] == "experiment":
        commit = f"  git {node['commit'][:9]}" if node["commit"] else ""
        return plain(f"experiment {node['name']}{commit}")
    at = f"commit {node['commit'][:12]}" if node["commit"] else str(node["tree"])[:15]
    marks = "" if node["present"] else "  not in the store"
    return plain(f"{node['name']}  {at}{'' if node['locked'] else '  not locked'}{marks}")


def as_mermaid(found: Mapping[str, Any]) -> str:
    """Return a lineage as a Mermaid flowchart."""
    numbers = {node["id"]: f"n{number}" for number, node in enumerate(found["nodes"])}
    lines = ["flowchart LR"]
    for node in found["nodes"]:
        opening, closing = ("([", "])") if node["type"] == "experiment" else ("[", "]")
        text = "".join(
            c if c.isalnum() or c in " ./_-@" else f"#{ord(c)};" for c in f"{node['name']}"
        )
        lines.append(f'  {numbers[node["id"]]}{opening}"{text}"{closing}')
    for edge in found["edges"]:
        role = "".join(c if c.isalnum() or c in "_-" else " " for c in edge["role"]).strip()
        arrow = f"-->|{role}|" if role else "-->"
        lines.append(f"  {numbers[edge['from']]} {arrow} {numbers[edge['to']]}")
    return "\n".join(lines) + "\n"


def as_svg(found: Mapping[str, Any]) -> str:
    """Return a lineage as one SVG, made from left to right, that needs nothing from outside."""
    columns = _columns(found)
    place = {
        node: (20 + x * (WIDTH + GAP_X), 20 + y * (HEIGHT + GAP_Y))
        for x, column in enumerate(columns)
        for y, node in enumerate(column)
    }
    width = 40 + len(columns) * (WIDTH + GAP_X) - GAP_X
    height = 40 + max(map(len, columns)) * (HEIGHT + GAP_Y) - GAP_Y
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        "<style>svg{background:#fff}rect{fill:#f4f6f8;stroke:#4a5568}.experiment rect{fill:#e6f0ff}"
        ".root rect{stroke-width:3}.absent rect{stroke-dasharray:4}path{fill:none;stroke:#718096}"
        "text{fill:#1a202c}.small{font-size:10px;fill:#4a5568}"
        "@media(prefers-color-scheme:dark){svg{background:#1a202c}rect{fill:#2d3748;"
        "stroke:#a0aec0}.experiment rect{fill:#2a4365}text{fill:#edf2f7}.small{fill:#a0aec0}}"
        "</style>",
    ]
    for edge in found["edges"]:
        (x1, y1), (x2, y2) = place[edge["from"]], place[edge["to"]]
        x1, y1, y2 = x1 + WIDTH, y1 + HEIGHT // 2, y2 + HEIGHT // 2
        bend = max(abs(x2 - x1) // 2, 30)
        parts.append(
            f'<path d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}">'
            f"<title>{_text(edge['role'])}</title></path>"
        )
    for node in found["nodes"]:
        x, y = place[node["id"]]
        classes = node["type"] + (" root" if node["id"] == found["root"] else "")
        classes += "" if node["present"] else " absent"
        below = node["commit"][:12] if node["commit"] else str(node["tree"] or node["id"])[:15]
        parts.append(
            f'<g class="{classes}"><title>{_text(node["name"])} {_text(node["id"])}</title>'
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
            f'<text x="{x + 10}" y="{y + 18}">{_text(_short(node["name"]))}</text>'
            f'<text class="small" x="{x + 10}" y="{y + 34}">{_text(below)}</text></g>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _neighbours(
    found: Mapping[str, Any],
) -> tuple[dict[str, list[tuple[str, str]]], dict[str, list[tuple[str, str]]]]:
    """Return node → [(role, node)] against the edges, and along them."""
    sources: dict[str, list[tuple[str, str]]] = defaultdict(list)
    targets: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for edge in found["edges"]:
        sources[edge["to"]].append((edge["role"], edge["from"]))
        targets[edge["from"]].append((edge["role"], edge["to"]))
    return sources, targets


def _branches(
    root: str,
    nodes: Mapping[str, Any],
    edges: Mapping[str, list[tuple[str, str]]],
    seen: set[str],
) -> Iterator[str]:
    """Yield the lines below a node; a walk of its own stack, for chains may be long."""
    stack = [iter([("", *row) for row in _rows(root, nodes, edges)])]
    while stack:
        try:
            before, role, node, last, more = next(stack[-1])
        except StopIteration:
            stack.pop()
            continue
        corner = "└─ " if last else "├─ "
        if node is None:
            yield f"{before}{corner}… {more} more experiments: --experiments names them all"
            continue
        again = node in seen and bool(edges.get(node))
        yield f"{before}{corner}{plain(role)}: {label(nodes[node])}{'  …' if again else ''}"
        if node not in seen:
            seen.add(node)
            deeper = before + ("   " if last else "│  ")
            stack.append(iter([(deeper, *row) for row in _rows(node, nodes, edges)]))


def _rows(
    root: str, nodes: Mapping[str, Any], edges: Mapping[str, list[tuple[str, str]]]
) -> list[tuple[str, str | None, bool, int]]:
    """Return (role, node, whether it is the last, how many are left out) of a node's branches."""
    branches = [(role, node) for role, node in edges.get(root, []) if node in nodes]
    leaves = [
        row for row in branches
        if nodes[row[1]]["type"] == "experiment" and not edges.get(row[1])
    ]  # fmt: skip
    left = set(leaves[MOST_EXPERIMENTS:])
    shown: list[tuple[str, str | None]] = [row for row in branches if row not in left]
    if left:
        shown.append(("", None))
    return [(role, node, n == len(shown), len(left)) for n, (role, node) in enumerate(shown, 1)]


def _columns(found: Mapping[str, Any]) -> list[list[str]]:
    """Return the nodes by their column: one right of all that they were made of.

    A cycle (an experiment that made what it used) is cut where it closes.
    """
    sources, targets = _neighbours(found)
    waiting = {node["id"]: len(sources.get(node["id"], [])) for node in found["nodes"]}
    column = dict.fromkeys(waiting, 0)
    left = dict(waiting)
    while left:
        ready = [node for node in left if left[node] <= 0] or [min(left, key=lambda n: left[n])]
        for node in ready:
            del left[node]
            for _, target in targets.get(node, []):
                if target in left:
                    left[target] -= 1
                    column[target] = max(column[target], column[node] + 1)
    found_columns: list[list[str]] = [[] for _ in range(max(column.values()) + 1)]
    for node, number in column.items():
        found_columns[number].append(node)
    return [one for one in found_columns if one]


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else f"…{name[1 - LETTERS :]}"


def _text(text: str) -> str:
    return escape("".join(c if c.isprintable() else "?" for c in text), quote=True)


def plain(text: str) -> str:
    """Return a text of one line that does nothing to a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)

"""Results as JSON, and the page that a person reads."""

# ruff: noqa: RUF001 - tables have a multiplication sign

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"
QUIET = 0.4
"""cores that others may keep busy before wall times say little"""

Result = dict[str, Any]


def read_results(path: Path) -> Result:
    """Return the results kept so far, of each row the last."""
    try:
        kept: Result = json.loads(path.read_text())
    except (OSError, ValueError):
        return {"version": 1, "rows": {}}
    return kept


def write_results(path: Path, results: Result) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def write_page(path: Path, text: str) -> None:
    """Replace what stands between the marker comments of *path*."""
    page = path.read_text(encoding="utf-8")
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no lines '{BEGIN}' and '{END}'")
    path.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}", encoding="utf-8")


def commit_of(root: Path) -> str:
    """Return the commit that is measured; ``+`` where files differ from it."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()


def as_markdown(rows: list[Result]) -> str:
    """Return the tables of *rows*, with where and when they were measured."""
    parts = []
    heads = list(dict.fromkeys(_head(row) for row in rows))
    if len(heads) == 1:
        parts.append(f"{heads[0]}\n")
    for row in rows:
        parts.append(f"### `{row['row']}`: {row['title']}\n")
        if len(heads) > 1:
            parts.append(f"{_head(row)}\n")
        parts.append(_table(row))
        parts.append(f"{_foot(row)}\n")
    if ahead := [line for row in rows for line in _ahead(row)]:
        parts.append("### Peers that are ahead of cas\n")
        parts += [f"- {line}" for line in ahead]
        parts.append("")
    return "\n".join(parts)


def _head(row: Result) -> str:
    machine = row["machine"]
    return (
        f"{row['date']}, commit {row['commit']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory']}; {machine['system']}, {machine['file_system']}; "
        f"Python {machine['python']}."
    )


def _table(row: Result) -> str:
    base = _base(row)
    lines = [
        "| | wall (least to most) | CPU | cas takes, wall | CPU | peak memory | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in row["contestants"]:
        ratios = ("", "")
        if one is not base:
            ratios = (_times(base["wall"], one["wall"]), _times(base["cpu"], one["cpu"]))
        name = f"**{one['name']}**" if one is base else one["name"]
        wall = f"{_time(one['wall'])} ({_time(one['wall_least'])} to {_time(one['wall_most'])})"
        cells = (name, wall, _time(one["cpu"]), *ratios, f"{one['peak_kb'] / 1024:.0f} MiB")
        lines.append(f"| {' | '.join((*cells, _further(row, one)))} |")
    return "\n".join(lines) + "\n"


def _further(row: Result, one: Result) -> str:
    said = []
    if size := row["work"].get("bytes"):
        said.append(f"{size / one['wall'] / 2**20:,.0f} MiB/s")
    if files := row["work"].get("files"):
        said.append(f"{files / one['wall']:,.0f} files/s")
    for key, value in one["extra"].items():
        said.append(f"{key}: {value:,.3g}" if value < 1000 else f"{key}: {value:,.0f}")
    return "; ".join(said)


def _foot(row: Result) -> str:
    load = row["load"]
    quiet = load["others_cores"] <= QUIET
    words = [
        f"{row['contestants'][0]['runs']} runs each, in turns",
        f"load {load['before']:.1f} before and {load['after']:.1f} after, others kept "
        f"{load['others_cores']:.2f} of a core busy",
    ]
    if row["note"]:
        words.append(row["note"])
    text = "; ".join(words) + "."
    return text if quiet else f"{text} **Loaded machine: trust the CPU's ratio, not the wall's.**"


def _ahead(row: Result) -> list[str]:
    base, found = _base(row), []
    for one in row["contestants"]:
        if one["role"] != "peer":
            continue
        behind = [
            f"{word} ({_times(base[key], one[key])})"
            for key, word in (("wall", "wall time"), ("cpu", "CPU"), ("peak_kb", "memory"))
            if one[key] < base[key]
        ]
        asked, ours = (each["extra"].get("requests a file") for each in (one, base))
        if asked is not None and ours is not None and asked < ours:
            behind.append(f"requests a file ({asked:.3g} to {ours:.3g})")
        if behind:
            found.append(f"`{row['row']}`: {one['name']}, in {' and '.join(behind)}")
    return found


def _base(row: Result) -> Result:
    return next(one for one in row["contestants"] if one["role"] == "cas")


def _times(a: float, b: float) -> str:
    ratio = a / b if b else float("inf")
    return f"{ratio:.2f} ×" if ratio >= 0.095 else f"{ratio:.3f} ×"


def _time(seconds: float) -> str:
    if seconds >= 9.995:
        return f"{seconds:.1f} s"
    if seconds >= 0.9995:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.09995 else f"{seconds * 1000:.0f} ms"

"""The report: one file that asks for nothing, holds every run, and lets no name become code."""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import subprocess
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import cas
from cas import experiments as room
from cas import graph, report
from cas.cli import run
from cas.errors import UsageError
from cas.project import Project, forget_current
from cas.report import curves
from tests.scratch import new_project

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = [
    "<script>alert(1)<script>",
    "<!--<script",
    "\" onload=x a='b'",
    "&lt;b&gt; &amp;",
    "🚀 emoji",
    "مرحبا",
    "\u202egnp.exe",
    "__proto__",
]
WORSE = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """What a browser would find: (tag, attributes), and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem in self.texts:
            self.texts[self.cdata_elem].append(data)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two local assets; the working directory is in it."""
    root = new_project(monkeypatch, tmp_path, "a", "b")
    yield root
    forget_current()


def use(name: str, role: str = "input") -> room.Use:
    """Return a use of a locked asset, or of a tree that only the record knows."""
    known = {asset.name: asset.tree_id for asset in Project.find().read_lock()}
    tree = known.get(name) or f"t1:{sha256(name.encode()).hexdigest()}"
    return room.Use(name=name, kind=name.partition("/")[0], role=role, tree=tree, commit=None)


def save(name: str, results: object, **given: object) -> None:
    directory = Path(Project.find().experiments)
    room.save(directory, name, results, **{"run": room.Run(), **given})


def written(root: Path) -> str:
    report.report(Project.find(), root / "report.html", warn=lambda text: None)
    return (root / "report.html").read_text()


def document(text: str) -> dict:
    """Return the data of a page, as a browser finds it."""
    parsed = Elements(text)
    (at,) = [n for n, (tag, _) in enumerate(s for s in parsed.found if s[0] == "script") if n == 0]
    return json.loads(parsed.texts["script"][at])


def unpacked(packed: object, runs: int) -> list:
    if isinstance(packed, list):
        return packed
    if "i" not in packed:
        return packed["v"] * runs
    return [packed["v"][at] for at in packed["i"]]


# The file


def test_a_report_asks_for_nothing_from_elsewhere(project: Path) -> None:
    save(
        "one",
        [{"loss": 2.0}],
        metadata={"url": "https://example.com/x.js"},
        uses=[use("datasets/a")],
    )
    text = written(project)
    parsed = Elements(text)
    tags = {tag for tag, _ in parsed.found}
    assert not tags & {"link", "img", "iframe", "object", "embed", "base", "form", "video", "audio"}
    for _, attributes in parsed.found:
        assert not {"src", "href", "style", "srcset", "action", "onload"} & set(attributes)
    code, style = parsed.texts["script"][1], parsed.texts["style"][0]
    assert not re.search(r"url\(|@import", style)
    assert not re.search(
        r"\bfetch\b|XMLHttpRequest|import\(|WebSocket|(inner|outer|Adjacent)HTML|document\.write|\beval\b",
        code,
    )
    assert set(re.findall(r"https?://[^\s\"']+", code)) == {"http://www.w3.org/2000/svg"}


def test_its_policy_allows_its_own_script_and_style_and_no_other(project: Path) -> None:
    parsed = Elements(written(project))
    (policy,) = [a["content"] for t, a in parsed.found if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for text in (parsed.texts["script"][1], parsed.texts["style"][0]):
        assert f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'" in policy


def test_no_name_ends_the_element_that_holds_it(project: Path) -> None:
    for name in HOSTILE:
        save(name, [{WORSE: 1.0, "loss": 2.0}], metadata={WORSE: WORSE, "__proto__": name},
             tags=[WORSE], uses=[use(f"datasets/{name}")])  # fmt: skip
    text = written(project)
    tags = [tag for tag, _ in Elements(text).found]
    assert tags.count("script") == 2
    assert "img" not in tags
    found = document(text)
    assert unpacked(found["runs"]["name"], len(HOSTILE)) == HOSTILE
    assert unpacked(found["runs"]["tags"], len(HOSTILE)) == [[WORSE]] * len(HOSTILE)
    assert unpacked(dict(found["metadata"])["__proto__"], len(HOSTILE)) == HOSTILE
    assert {f"datasets/{name}" for name in HOSTILE} <= {row[1] for row in found["trees"]}


def test_a_project_without_experiments_has_a_report(project: Path, capsys) -> None:
    assert run(["report", "-o", "r.html", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "path": "r.html", "experiments": 0, "assets": 2,
        "bytes": (project / "r.html").stat().st_size,
    }  # fmt: skip
    assert document((project / "r.html").read_text())["count"] == 0


def test_the_command_replaces_a_report_and_says_what_is_in_it(project: Path, capsys) -> None:
    (project / "report.html").write_text("old")
    save("one", [{"loss": 2.0}])
    assert run(["report"]) == 0
    assert "report.html: 1 experiment, 2 assets, " in capsys.readouterr().err
    assert (project / "report.html").read_text().startswith("<!doctype html>")
    assert not [one for one in project.iterdir() if one.name.startswith(".cas-")]


def test_what_is_no_file_is_not_written_over(project: Path, capsys) -> None:
    (project / "dir").mkdir()
    (project / "link").symlink_to("/dev/null")
    for place in ("dir", "link", "absent/report.html"):
        assert run(["report", "-o", place]) == 2
        assert repr(place) in capsys.readouterr().err
    with pytest.raises(UsageError):
        report.report(Project.find(), project / "dir", warn=print)


# What it holds


def test_figures_are_those_of_the_records(project: Path) -> None:
    save("one", [{"loss": 3.0}, {"loss": math.nan}, {"loss": 1.5}, {"loss": 2.0}])
    save("two", [{"accuracy": 0.1 + 0.2, "name": "x"}])
    save("three", [{"loss": math.inf}], metadata={"big": 2**60, "lr": 0.1, "nested": {"a": [1]}})
    found = document(written(project))
    loss, accuracy = (
        next(one for one in found["metrics"] if one["name"] == name)
        for name in ("loss", "accuracy")
    )
    assert (loss["direction"], accuracy["direction"]) == ("min", "max")
    assert (loss["min"], loss["max"], loss["last"]) == (
        [1.5, None, None], [3, None, None], [2, None, None],
    )  # fmt: skip
    assert loss["skipped"] == [[0, 1], [2, 1]]
    assert accuracy["min"] == [None, 0.3, None]
    assert [one["name"] for one in found["metrics"]] == ["loss", "accuracy"]
    metadata = {key: unpacked(packed, 3)[2] for key, packed in found["metadata"]}
    assert metadata == {"big": str(2**60), "lr": 0.1, "nested.a": "[1]"}


def test_curves_stand_against_the_step_and_leave_gaps(project: Path) -> None:
    save("one", [{"step": 10 * n, "loss": 1.0 * n, "val_loss": n if n % 2 else None}
                 for n in range(6)])  # fmt: skip
    save("two", [{"loss": 1.0}, {"loss": math.nan}, {"loss": 0.5}])
    found = document(written(project))
    names = [one["name"] for one in found["metrics"]]
    curve = {name: found["curves"][names.index(name)] for name in names}
    lists = found["lists"]
    assert found["step"] == "step"
    rows, steps, (run,), (values,) = curve["loss"][0]
    assert (run, rows, lists[steps], values) == (0, -6, [0, 10, 20, 30, 40, 50], [0, 1, 2, 3, 4, 5])
    rows, steps, (run,), (values,) = curve["loss"][1]
    assert (run, lists[rows], steps, values) == (1, [0, 2], None, [1, 0.5])
    rows, steps, _, (values,) = curve["val_loss"][0]
    assert (lists[rows], lists[steps], values) == ([1, 3, 5], [10, 30, 50], [1, 3, 5])
    assert found["thinned"] is False


def test_thinned_curves_keep_ends_and_extremes(project: Path, monkeypatch) -> None:
    monkeypatch.setattr(curves, "ROOM", 100)
    values = np.sin(np.arange(5000) / 300)
    values[1234], values[4321] = 50.0, -50.0
    save("one", [{"loss": float(value)} for value in values])
    found = document(written(project))
    ((rows, _, _, (kept,)),) = found["curves"][0]
    assert found["thinned"] is True
    assert len(kept) <= 100
    assert (max(kept), min(kept)) == (50, -50)
    at = found["lists"][rows]
    assert (at[0], at[-1]) == (0, 4999)
    assert {1234, 4321} <= set(at)
    assert kept == pytest.approx([values[row] for row in at], rel=1e-4)


def test_assets_have_what_used_and_made_them(project: Path) -> None:
    save("one", [{"loss": 1.0}], uses=[use("datasets/a"), use("models/m.pt", "output")])
    save("two", [{"loss": 2.0}], uses=[use("models/m.pt"), use("datasets/b", "earlier")])
    found = document(written(project))
    name = [row[1] for row in found["trees"]]
    used = unpacked(found["runs"]["uses"], 2)
    told = [[(name[tree], role) for tree, role in found["uses"][at]] for at in used]
    assert told == [
        [("datasets/a", "input"), ("models/m.pt", "output")],
        [("models/m.pt", "input")],
    ]
    locked = {row[1]: (row[7], row[8]) for row in found["trees"]}
    assert locked == {"datasets/a": (1, 1), "datasets/b": (1, 1), "models/m.pt": (0, 0)}


def test_what_is_built_of_an_asset_is_an_edge(project: Path) -> None:
    (project / "c.txt").write_text("once upon a time there was a story of a fox and a hen. " * 50)
    cas.add("./c.txt", name="datasets/c")
    assert run(["add", "tokenizers/t", "--recipe", "bpe", "--input", "datasets/c",
                 "--vocab-size", "300"]) == 0  # fmt: skip
    found = document(written(project))
    name = [row[1] for row in found["trees"]]
    ((source, into, via),) = found["edges"]
    assert (name[source], name[into], via[:3]) == ("datasets/c", "tokenizers/t", "r1:")


def test_an_asset_marked_bad_taints_what_is_made_of_it(project: Path) -> None:
    save("one", [{"loss": 1.0}], uses=[use("datasets/a")])
    save("two", [{"loss": 1.0}], uses=[use("datasets/b")])
    assert run(["mark", "bad", "datasets/a", "--reason", "cut off"]) == 0
    found = document(written(project))
    ids = unpacked(found["runs"]["id"], 2)
    assert {node for node, _ in found["bad"]} == {use("datasets/a").tree, ids[0]}
    assert all("cut off" in why for _, why in found["bad"])


def test_a_file_that_cannot_be_read_is_told_and_counted(project: Path, capsys) -> None:
    save("one", [{"loss": 1.0}])
    torn = Path(Project.find().experiments) / "bad.01890000-0000-7000-8000-000000000000.parquet"
    torn.write_bytes(b"PAR1 torn")
    assert run(["report"]) == 0
    assert torn.name in capsys.readouterr().err
    found = document((project / "report.html").read_text())
    assert (found["count"], found["unreadable"]) == (1, 1)


# In a browser


def browse(page: Path, address: str, tmp_path: Path, script: str = "") -> tuple[str, list[str]]:
    """Return (the document after its scripts ran, what the console says).

    A *script* of the test runs in a copy of the page without its policy, which forbids it.
    """
    if script:
        text = re.sub(r"<meta http-equiv=[^>]*>\n", "", page.read_text(), count=1)
        page = tmp_path / "driven.html"
        page.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000",
         "--dump-dom", f"{page.as_uri()}#{address}"],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def order(dom: str, runs: dict[str, str]) -> list[str]:
    """Return the names of the leaderboard's rows, from the top."""
    return [runs[key] for key in re.findall(r'<tr data-id="([^"]+)"', dom)]


@pytest.fixture
def shown(project: Path) -> tuple[Path, dict[str, str]]:
    """A report with hostile names, and id → name."""
    save("diverged", [{"loss": math.nan}, {"loss": math.nan}], metadata={"lr": 5})
    for number, name in enumerate(HOSTILE):
        save(name, [{"step": n, "loss": number + 5 / (n + 1)} for n in range(20)],
             metadata={"lr": number / 10, "text": WORSE}, tags=[f"tag{number}"],
             uses=[use("datasets/a"), use(f"models/{name}", "output")])  # fmt: skip
    save("moved on", {"other": 1.0}, uses=[use("datasets/old")])
    found = document(written(project))
    total = found["count"]
    names = unpacked(found["runs"]["name"], total)
    return project / "report.html", dict(
        zip(unpacked(found["runs"]["id"], total), names, strict=True)
    )


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.mark.full
@needs_chromium
def test_every_view_renders_without_a_word_on_the_console(shown, tmp_path: Path) -> None:
    page, runs = shown
    _, first, second, *_ = runs
    tree = use("datasets/a").tree
    for address, expected in {
        "/": "<h1>Leaderboard</h1>",
        f"/run/{first}": "<polyline",
        f"/compare/{first},{second}": 'colspan="3"',
        "/assets": "datasets/b",
        f"/asset/{tree}": "data-node=",
        "/lineage": "data-node=",
        f"/lineage/{first}": "data-node=",
        "/run/%E0%A4%A": "No such experiment",
    }.items():
        dom, console = browse(page, address, tmp_path)
        assert console == [], address
        assert expected in dom, address
        assert "<title>p: experiments</title>" in dom
        assert "<img" not in dom
        assert "[object" not in dom
        assert dom.count("<script") == 2


@pytest.mark.full
@needs_chromium
def test_many_experiments_of_the_same_inputs_are_one_node(project: Path, tmp_path: Path) -> None:
    for number in range(60):
        made = f"models/{number}.pt"
        save(f"run {number}", {"loss": 1.0}, uses=[use("datasets/a"), use(made, "output")])
    written(project)
    dom, console = browse(project / "report.html", "/lineage", tmp_path)
    assert console == []
    assert dom.count("data-node=") == 3
    assert ("60 experiments</title>" in dom, "60 outputs</title>" in dom) == (True, True)


@pytest.mark.full
@needs_chromium
def test_an_address_sorts_and_filters(shown, tmp_path: Path) -> None:
    page, runs = shown
    dom, _ = browse(page, "/", tmp_path)
    assert order(dom, runs) == [*HOSTILE, "diverged", "moved on"]
    dom, _ = browse(page, "/?metric=loss&direction=max&sort=m:loss&down=1", tmp_path)
    assert order(dom, runs) == [*reversed(HOSTILE), "diverged", "moved on"]
    dom, _ = browse(page, "/?q=lr%3E0.25+lr%3C%3D0.4", tmp_path)
    assert order(dom, runs) == HOSTILE[3:5]
    dom, _ = browse(page, "/?q=tag:tag7", tmp_path)
    assert order(dom, runs) == ["__proto__"]
    dom, _ = browse(page, "/?q=is:stale", tmp_path)
    assert order(dom, runs) == ["moved on"]
    assert [row["name"] for row in graph.stale(Project.find())] == ["moved on"]


@pytest.mark.full
@needs_chromium
def test_clicks_and_letters_sort_filter_and_choose(shown, tmp_path: Path) -> None:
    page, runs = shown
    script = """
    const head = () => [...document.querySelectorAll("th button")]
      .find((one) => one.textContent.startsWith("lr"));
    head().click(); head().click();
    const filter = document.getElementById("filter");
    filter.value = "lr<0.35"; filter.dispatchEvent(new Event("input"));
    const drawing = document.querySelector(".chart svg");
    const { left, width } = drawing.getBoundingClientRect();
    drawing.dispatchEvent(new PointerEvent("pointermove", { clientX: left + width / 2 }));
    for (const box of [...document.querySelectorAll("td.pick input")].slice(0, 2)) box.click();
    """
    dom, console = browse(page, "/", tmp_path, script)
    assert console == []
    assert order(dom, runs) == HOSTILE[3::-1]
    assert "Compare (2)" in dom
    tip = re.search(r'<div class="tip".*?</figure>', dom, re.S)
    assert tip
    assert re.findall(r"<b>([^<]*)</b>", tip[0])[0].startswith("step ")
    assert tip[0].count("<bdi>") == 4
    assert "[object" not in dom

"""What the documents say is what the program does."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cas.cli.parser import build

ROOT = Path(__file__).parent.parent
GENERAL = {"-h", "--help", "-q", "--quiet", "-v", "--verbose", "--project", "--color", "--json"}


def subparsers() -> dict[str, argparse.ArgumentParser]:
    for action in build()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the parser has no commands")


def sections() -> dict[str, str]:
    text = (ROOT / "docs/commands.md").read_text()
    parts = re.split(r"^## cas (\S+)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_has_its_section_and_no_other():
    assert list(sections()) == list(subparsers())


@pytest.mark.parametrize("name", sorted(subparsers()))
def test_every_option_of_a_command_is_documented_and_no_other(name: str):
    options = {o for action in subparsers()[name]._actions for o in action.option_strings}
    told = set(re.findall(r"^\| `(--?[a-z-]+)`", sections()[name], flags=re.M))
    told |= set(re.findall(r"^\| `-[a-z]`, `(--[a-z-]+)`", sections()[name], flags=re.M))
    assert told == {o for o in options - GENERAL if o.startswith("--")}


def examples() -> list[str]:
    found = []
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", document.read_text(), re.S):
            for line in block.replace("\n             ", " ").splitlines():
                command = line.removeprefix("$ ")
                if command.startswith("cas ") and not command.startswith("cas query"):
                    found += [part.strip() for part in re.split(r"&&|;", command)]
    return [command for command in found if command.startswith("cas ")]


@pytest.mark.parametrize("command", examples())
def test_every_example_is_one_that_the_parser_takes(command: str):
    words = shlex.split(command, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    assert build().parse_args(words).command == words[0]


def test_the_links_of_the_documents_lead_somewhere():
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_demo_runs_from_a_copy_of_the_tracked_files(tmp_path: Path):
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in tracked:
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "examples/demo.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "3 assets are as they are locked",
        "datasets/cas-demo/stories      ",
        "5 assets in place, 5 linked",
        "stories-train.txt: OK",
        "0 bad",
    ):
        assert line in done.stdout + done.stderr

"""Git's hooks, as git runs them: real repositories, commits, merges, checkouts and pushes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cas.lockfile import parse

BIN = Path(sys.executable).parent
HOOKS = ("pre-commit", "post-checkout", "post-merge", "pre-push")


class Repository:
    """A git repository with a project, and who works in it."""

    def __init__(self, top: Path, made: Path | None = None) -> None:
        self.top, self.root = top, top / "p"
        if made:
            shutil.copytree(made, self.root, symlinks=True)
        else:
            self.root.mkdir()
        self.env = os.environ | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(top / "home"),
            "CAS_STORE": str(top / "store"),
            "XDG_CACHE_HOME": str(top / "cache"),
            "XDG_CONFIG_HOME": str(top / "config"),
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "GIT_CONFIG_GLOBAL": str(top / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER")
               for what in ("NAME", "EMAIL")},
        }  # fmt: skip
        self.env.pop("CAS_PROJECT", None)
        self.said = ""
        if not made:
            self.sh("git init -q -b main . && cas init && git add -A && git commit -qm zero")

    def sh(self, line: str, code: int = 0, cwd: Path | None = None) -> str:
        """Run a line of sh; it must exit with *code*. What it said on stderr is ``said``."""
        done = subprocess.run(["bash", "-ec", line], cwd=cwd or self.root, env=self.env,
                              capture_output=True, text=True)  # fmt: skip
        self.said = done.stderr
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def add(self, name: str, text: str) -> None:
        """Take a file in as an asset, and commit that."""
        (self.top / name).write_text(text)
        self.sh(f"cas add {self.top}/{name} --name models/{name} && git add -A && "
                f"git commit -qnm {name}")  # fmt: skip

    def hook(self, name: str, text: str, mode: int = 0o755) -> Path:
        place = self.root / ".git/hooks" / name
        place.write_text(text)
        place.chmod(mode)
        return place

    def locked(self) -> list[str]:
        return list(parse((self.root / "assets.lock").read_bytes()).assets)

    def without_cas(self) -> None:
        """Be where the command is neither on the PATH nor where it was."""
        self.env["PATH"] = os.environ["PATH"].replace(f"{BIN}:", "")
        self.sh(f"git config cas.command {self.top}/gone/bin/cas")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A repository with the hooks put in."""
    repo = Repository(tmp_path_factory.mktemp("made"))
    repo.sh("cas hook install && git add -A && git commit -qm hooks")
    return repo.root


@pytest.fixture
def repo(tmp_path, made) -> Repository:
    return Repository(tmp_path, made)


def state(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Return what is in a directory: bytes and modes."""
    return {
        str(path.relative_to(directory)): (path.read_bytes(), stat.S_IMODE(path.lstat().st_mode))
        for path in directory.rglob("*")
        if path.is_file()
    }


# pre-commit -------------------------------------------------------------------------------


def test_a_commit_is_refused_where_the_staged_lock_is_not_what_is_staged_as_asked_for(repo):
    repo.add("a.pt", "a")
    asked = (repo.root / "pyproject.toml").read_text()
    (repo.root / "pyproject.toml").write_text(asked.replace('"models/a.pt"', '"models/b.pt"'))
    repo.sh("git add -A && git commit -qm bad", code=1)
    assert "models/b.pt is requested and not locked" in repo.said
    assert "models/a.pt is locked and not requested" in repo.said
    assert "cas lock && git add pyproject.toml assets.lock" in repo.said
    (repo.root / "pyproject.toml").write_text(asked)
    repo.sh("cas lock --check && git commit -qm bad", code=1)
    assert "as it is staged" in repo.said, "the work tree is in step, the index is not"
    repo.sh("git add -A && git commit -qm good --allow-empty")
    (repo.root / "pyproject.toml").write_text(asked.replace('"models/a.pt"', '"models/b.pt"'))
    repo.sh("echo x > x && git add x && git commit -qm x")
    repo.sh("git add -A && git commit -qm bad --no-verify && echo y > x && git commit -qam other")


def test_a_commit_is_refused_where_a_lock_is_missing_or_cant_be_read(repo):
    request = '[tool.cas.assets]\n"models/x.pt" = { local = "x.pt" }\n'
    (repo.root / "sub").mkdir()
    (repo.root / "sub/pyproject.toml").write_text(request)
    repo.sh("git add -A && git commit -qm bad", code=1)
    assert "requests assets in sub, and no assets.lock is in the commit" in repo.said
    repo.sh("git rm -rqf sub && git commit -qm good --allow-empty")
    (repo.root / "assets.lock").write_text("version = 1\n<<<<<<< ours\n=======\n>>>>>>> theirs\n")
    repo.sh("git add -A && git commit -qm bad", code=1)
    assert "conflict markers" in repo.said
    repo.sh("git checkout -q HEAD assets.lock")
    (repo.root / "assets.lock").write_text("version = 99\n")
    repo.sh("git commit -qm 'not staged' --allow-empty")
    repo.sh("git commit -qam bad", code=1)
    assert "version 99" in repo.said


def test_a_file_over_50_mb_is_refused_as_it_is_staged(repo):
    with open(repo.root / "big.bin", "wb") as file:
        file.truncate(50_000_001)
    repo.sh("git -c core.compression=1 add -A && truncate -s 10 big.bin && git commit -qm big", 1)
    assert "'big.bin' has 50.0 MB, more than 50.0 MB" in repo.said
    assert "git rm --cached big.bin && cas add ./big.bin" in repo.said
    assert "nothing was committed" in repo.said
    repo.sh("git add -A && git commit -qm small && truncate -s 60000000 big.bin")
    repo.sh("echo x > x && git add x && git commit -qm 'the work tree does not count'")


@pytest.mark.full
def test_projects_below_the_top_and_worktrees_are_looked_after(repo):
    repo.sh(
        "mkdir -p papers/one && cd papers/one && cas init && git add -A . && git commit -qm one"
    )
    (repo.top / "w.pt").write_text("w")
    repo.sh(f"cd papers/one && cas add {repo.top}/w.pt && git add pyproject.toml && "
            "git commit -qm bad", code=1)  # fmt: skip
    assert "as it is staged in papers/one" in repo.said
    repo.sh("cd papers/one && git add -A . && git commit -qm good")
    repo.sh("git worktree add -q ../w -b other")
    assert "models/w.pt; cas pull --project papers/one" in repo.said
    other = repo.top / "w"
    repo.sh("rm papers/one/pyproject.toml && git add -A && git commit -qm bad", 1, cwd=other)
    assert "models/w.pt is locked and not requested" in repo.said


# Merges -----------------------------------------------------------------------------------


def test_branches_that_add_different_assets_merge(repo):
    repo.add("base.pt", "base")
    repo.sh("git checkout -qb theirs")
    repo.add("b.pt", "b")
    repo.add("base.pt", "base, moved on")
    repo.sh("git checkout -q main")
    repo.add("a.pt", "a")
    repo.sh("cas pull && git merge -q theirs -m merged")
    assert "not here as it says: models/base.pt; cas pull\n" in repo.said
    assert repo.locked() == ["models/a.pt", "models/b.pt", "models/base.pt"]
    assert repo.sh("git status --porcelain") == ""
    repo.sh("cas lock --check && cas pull && cas status")
    assert (repo.root / "assets/models/base.pt").read_text() == "base, moved on"
    assert repo.sh("git check-attr merge assets.lock papers/x/assets.lock").count(": cas\n") == 2


def test_one_asset_that_both_sides_moved_is_left_as_a_conflict_that_cas_lock_decides(repo):
    repo.add("model.pt", "base")
    repo.sh("git checkout -qb theirs")
    repo.add("model.pt", "theirs")
    repo.add("new.pt", "new")
    repo.sh("git checkout -q main")
    repo.add("model.pt", "ours")
    repo.sh("git merge theirs", code=1)
    assert "both sides moved models/model.pt" in repo.said
    assert "cas lock --ours or cas lock --theirs decides" in repo.said
    assert repo.sh("git diff --name-only --diff-filter=U") == "assets.lock\n"
    text = (repo.root / "assets.lock").read_text()
    assert text.count("<<<<<<< ours\n[[asset]]\n") == 1
    assert text.count(">>>>>>> theirs\n") == 1
    assert '"models/new.pt"' in text.partition(">>>>>>> theirs")[2]
    repo.sh("cas pull", code=1)
    assert "cas lock" in repo.said
    repo.sh("cas lock --theirs && git add -A && git commit -qm merged && cas pull")
    assert (repo.root / "assets/models/model.pt").read_text() == "theirs"
    assert repo.locked() == ["models/model.pt", "models/new.pt"]


@pytest.mark.full
def test_what_a_side_took_out_goes_and_what_it_took_out_that_the_other_moved_is_a_conflict(repo):
    repo.add("a.pt", "a")
    repo.add("b.pt", "b")
    repo.sh("git checkout -qb theirs && cas rm models/a.pt && git commit -qam 'without a'")
    repo.sh("git checkout -q main")
    repo.add("c.pt", "c")
    repo.sh("git checkout -qb moved main")
    repo.add("a.pt", "a, moved on")
    repo.sh("git checkout -q main && git merge -q theirs -m merged")
    assert repo.locked() == ["models/b.pt", "models/c.pt"]
    repo.sh("cas lock --check && git merge moved", code=1)
    assert "both sides moved models/a.pt" in repo.said


@pytest.mark.full
def test_other_conflicts_of_pyproject_toml_are_gits(repo):
    repo.sh("printf '[project]\\nname = \"x\"\\n' > n && cat pyproject.toml >> n && "
            "mv n pyproject.toml && git commit -qam named")  # fmt: skip
    repo.sh("git checkout -qb theirs && sed -i 's/\"x\"/\"theirs\"/' pyproject.toml && "
            "git commit -qam theirs")  # fmt: skip
    repo.sh("git checkout -q main && sed -i 's/\"x\"/\"ours\"/' pyproject.toml && "
            "git commit -qam ours && git merge theirs", code=1)  # fmt: skip
    text = (repo.root / "pyproject.toml").read_text()
    assert '<<<<<<< ours\nname = "ours"\n=======\nname = "theirs"\n>>>>>>> theirs\n' in text
    assert "Traceback" not in repo.said


@pytest.mark.full
def test_where_cas_cant_be_run_git_merges_as_text(repo):
    repo.add("a.pt", "a")
    repo.sh("git checkout -qb theirs")
    repo.add("z.pt", "z")
    repo.sh("git checkout -q main")
    (repo.root / "x").write_text("x")
    repo.sh("git add x && git commit -qm x")
    repo.without_cas()
    repo.sh("git merge -q theirs -m merged")
    assert repo.locked() == ["models/a.pt", "models/z.pt"]
    repo.sh("git checkout -qb one && sed -i 's/^size = 1$/size = 2/' assets.lock && "
            "git commit -qam one && git checkout -q main && "
            "sed -i 's/^size = 1$/size = 3/' assets.lock && git commit -qam two")  # fmt: skip
    repo.sh("git merge one", code=1)
    assert "<<<<<<< ours\nsize = 3\n" in (repo.root / "assets.lock").read_text()


# The others -------------------------------------------------------------------------------


def test_a_checkout_says_what_has_to_be_pulled_and_only_then(repo):
    repo.add("a.pt", "a")
    repo.sh("git checkout -qb moved")
    repo.add("a.pt", "another")
    repo.sh("git checkout -q main")
    assert "note: assets.lock moved, and this is not here as it says: models/a.pt; cas pull\n" in (
        repo.said
    )
    repo.sh("cas pull && git checkout -q main")
    assert repo.said == "1 asset in place, 1 linked\n"
    repo.sh("git checkout -q HEAD -- assets.lock && git checkout -qb same")
    assert repo.said == ""
    repo.sh(f"git clone -q . {repo.top}/clone")
    repo.sh("cas hook install && git checkout -q --detach", cwd=repo.top / "clone")
    assert "models/a.pt" not in repo.said, "the lock did not move"
    repo.sh("git checkout -q origin/moved", cwd=repo.top / "clone")
    assert "models/a.pt; cas pull" in repo.said


def test_a_push_says_what_has_no_second_copy_and_goes_on(repo):
    repo.sh(f"git init -q --bare {repo.top}/server && git push -q {repo.top}/server main")
    assert "second copy" not in repo.said
    repo.add("a.pt", "a")
    repo.sh(f"git push -q {repo.top}/server main")
    assert "no second copy is known of models/a.pt" in repo.said
    assert "cas push" in repo.said
    assert repo.sh("git rev-parse main") == repo.sh(f"git -C {repo.top}/server rev-parse main")


# Putting in and taking out ----------------------------------------------------------------


def test_hooks_that_are_there_go_on_and_are_restored_to_the_byte(tmp_path):
    repo = Repository(tmp_path)
    seen = repo.top / "seen"
    for place in (repo.root / ".git/hooks").iterdir():
        place.unlink()
    repo.hook("pre-commit", f'#!/bin/sh -e\necho "$(basename "$0")" >> {seen}\ntest ! -e stop')
    repo.hook("post-checkout", f"#!{sys.executable}\nopen({str(seen)!r}, 'a').write('python\\n')\n")
    repo.hook("post-merge", f"#!/usr/bin/env bash\necho off >> {seen}\n", mode=0o644)
    (repo.root / "push.sh").write_text(f"#!/bin/sh\ncat >> {seen}\n")
    (repo.root / "push.sh").chmod(0o755)
    (repo.root / ".git/hooks/pre-push").symlink_to("../../push.sh")
    (repo.root / ".gitattributes").write_text("*.png binary\n")
    repo.sh("git add -A && git commit -qm mine")
    before = state(repo.root / ".git/hooks"), (repo.root / ".git/config").read_bytes()
    seen.unlink()

    first = json.loads(repo.sh("cas hook install --json"))
    assert first == {"directory": str(repo.root / ".git/hooks"), "hooks": list(HOOKS),
                     "kept": list(HOOKS)}  # fmt: skip
    after = state(repo.root / ".git/hooks"), (repo.root / ".git/config").read_bytes()
    assert json.loads(repo.sh("cas hook install --json")) == first
    assert (state(repo.root / ".git/hooks"), (repo.root / ".git/config").read_bytes()) == after
    assert (repo.root / ".gitattributes").read_text() == (
        "*.png binary\nassets.lock merge=cas\npyproject.toml merge=cas\n"
    )
    repo.sh("git add -A && git commit -qm attributes && git checkout -qb other")
    repo.sh("git commit -qm empty --allow-empty && git checkout -q main && git merge -q other")
    repo.sh(f"git init -q --bare {repo.top}/server && git push -q {repo.top}/server main")
    lines = seen.read_text().splitlines()
    assert lines[:-1] == ["pre-commit", "python", "pre-commit", "python"]
    assert lines[-1].startswith("refs/heads/main "), "what git gives on stdin is theirs"
    repo.sh("touch stop && git commit -qm stopped --allow-empty", code=1)

    gone = json.loads(repo.sh("cas hook uninstall --json"))
    assert (gone["hooks"], gone["kept"]) == (list(HOOKS), list(HOOKS))
    assert (state(repo.root / ".git/hooks"), (repo.root / ".git/config").read_bytes()) == before
    assert (repo.root / ".git/hooks/pre-push").is_symlink()
    assert (repo.root / ".gitattributes").read_text() == "*.png binary\n"
    repo.sh("cas hook uninstall")
    assert repo.said == "there was none\n"


def test_a_repository_without_hooks_has_none_again(repo):
    made = {path.name for path in (repo.root / ".git/hooks").iterdir() if path.suffix == ""}
    assert made == set(HOOKS)
    repo.sh("cas hook uninstall")
    assert not [path for path in (repo.root / ".git/hooks").iterdir() if path.suffix == ""]
    assert not (repo.root / ".gitattributes").exists()
    assert "cas" not in (repo.root / ".git/config").read_text()


def test_core_hookspath_is_served_and_one_for_all_repositories_is_refused(tmp_path):
    repo = Repository(tmp_path)
    repo.sh("git config core.hooksPath .githooks && cas hook install && git add -A")
    assert {path.name for path in (repo.root / ".githooks").iterdir()} == set(HOOKS)
    assert str(tmp_path) not in (repo.root / ".githooks/pre-commit").read_text()
    repo.sh("sed -i 's/^version = 1/version = 99/' assets.lock && git commit -qam bad", code=1)
    repo.sh("cas hook uninstall && git config --unset core.hooksPath")
    assert list((repo.root / ".githooks").iterdir()) == []
    repo.sh(f"git config --global core.hooksPath {tmp_path}/all && cas hook install", code=1)
    assert "for all your repositories (global)" in repo.said
    assert "git config --local core.hooksPath" in repo.said
    assert not (tmp_path / "all").exists()
    repo.sh(f"mkdir {tmp_path}/bare && cd {tmp_path}/bare && cas init && cas hook install", code=1)
    assert "is in no git repository" in repo.said


def test_where_the_command_is_not_found_or_broken_the_hook_says_so_and_git_goes_on(repo):
    repo.env["PATH"] = os.environ["PATH"].replace(f"{BIN}:", "")
    (repo.root / "assets.lock").write_text("version = 99\n")
    repo.sh("git commit -qam bad", code=1)
    assert "version 99" in repo.said, "it is found where it was when it was put in"
    repo.without_cas()
    repo.sh("git commit -qam passes && git checkout -qb other")
    assert "the command is not on the PATH, so the pre-commit hook did nothing" in repo.said
    assert "run: cas hook install" in repo.said
    broken = repo.top / "cas"
    broken.write_text("#!/bin/sh\necho Traceback >&2\nexit 1\n")
    broken.chmod(0o755)
    repo.sh(f"git config cas.command {broken} && git commit -qm passes --allow-empty")
    assert "the pre-commit hook failed (exit 1) and was passed over" in repo.said
    broken.write_text("#!/nowhere/python\n")
    repo.sh("git commit -qm passes --allow-empty")
    assert "was passed over" in repo.said


@pytest.mark.full
def test_usage(repo):
    for words in ("", "what", "run", "run no-such-hook", "install twice"):
        repo.sh(f"cas hook {words}", code=2)
        assert "Traceback" not in repo.said
    repo.sh("cas hook run pre-commit && cas hook run post-checkout && cas hook run pre-push")


def test_names_that_mean_harm_are_shown_and_typed_as_names(repo):
    name = "-x;$(touch ran)\x1b[31m"
    (repo.root / name).mkdir()
    (repo.root / name / "assets.lock").write_text("no lock")
    with (repo.root / name / "big").open("wb") as file:
        file.truncate(50_000_001)
    repo.sh("git add -A && git commit -qm bad", code=1)
    assert "git rm --cached './-x;$(touch ran)" in repo.said
    assert "\x1b" not in repo.said
    assert not (repo.root / "ran").exists()


def test_attributes_that_are_a_link_are_left_alone(repo):
    secret = repo.root.parent / "secret"
    secret.write_text("secret\n")
    repo.sh("cas hook uninstall && rm -f .gitattributes && ln -s ../secret .gitattributes")
    repo.sh("cas hook install", code=1)
    assert "is a link" in repo.said
    repo.sh("cas hook uninstall")
    assert (repo.root / ".gitattributes").is_symlink()
    assert secret.read_text() == "secret\n"

"""The command line and the Python functions: what both promise, beyond what scripts can say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import cas
from cas.cli.experiments import WORDS
from cas.cli.parser import COMMANDS
from cas.errors import (
    CasError,
    Edited,
    IntegrityError,
    NoProject,
    NotPulled,
    OutOfStep,
    UnknownAsset,
    UsageError,
)
from cas.project import forget_current
from tests.hubserver import Hub
from tests.scratch import move_in

BIN = Path(sys.executable).parent
HEAVY = """
    torch datasets transformers tokenizers huggingface_hub httpx2 pyarrow duckdb pandas numpy
    obstore fsspec sqlite3 filelock platformdirs tqdm rich
""".split()  # noqa: SIM905 - a list of words is read as words


@pytest.fixture(scope="module")
def hub():
    with Hub() as server:
        yield server


@pytest.fixture
def project(tmp_path, monkeypatch, hub):
    """An empty project with a store of its own; the working directory is in it."""
    from huggingface_hub import constants

    move_in(monkeypatch, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    # HF_ENDPOINT is read when huggingface_hub is imported, perhaps by another test
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    root = tmp_path / "p"
    root.mkdir()
    monkeypatch.chdir(root)
    hub.repos.clear()
    hub.reset_log()
    assert cas.init() == root
    yield root
    forget_current()


def command(*words: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "cas", *words], capture_output=True, text=True, **options)


def commit(hub, name: str = "o/n", kind: str = "dataset", **files: str) -> str:
    repo = hub.repos.get((kind, name)) or hub.repo(name, kind)
    return repo.commit({path.replace("_", "."): text for path, text in files.items()})


# --- what a user reads -------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_examples_that_the_parser_takes(name):
    import shlex

    from cas.cli.parser import build, parse

    summary, examples, _ = COMMANDS[name]
    assert summary[0].islower()
    assert not summary.endswith(".")
    for line in examples.strip().splitlines():
        words = shlex.split(line.partition(" > ")[0], comments=True)
        assert words[0] == "cas"
        assert parse(words[1:]).command
    assert examples.startswith(f"cas {name}")
    (sub,) = [a for a in build()._actions if a.dest == "command"]
    shown = sub.choices[name].format_help()
    assert "examples:\n  cas " in shown
    for general in ("--quiet", "--verbose", "--project", "--color", "--json"):
        assert general in shown
    for action in sub.choices[name]._actions:
        assert action.help or action.choices or not action.option_strings, action.option_strings


def test_ctrl_c_while_it_starts_leaves_no_traceback():
    start = """
import sys
class Keys:
    def find_spec(self, name, *rest):
        if name == "cas.cli.terminal":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Keys())
from cas.__main__ import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "cas: error: interrupted\n")


def test_help_and_version_go_to_stdout():
    shown = command("--help")
    assert shown.returncode == 0
    assert all(f"    {name} " in shown.stdout for name in COMMANDS)
    assert command("--version").stdout == f"cas {cas.__version__}\n"
    assert command("add", "--help").stdout.startswith("usage: cas add")
    assert subprocess.run([sys.executable, "-m", "cas", "--version"]).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell, project, tmp_path):
    (project / "x.txt").write_text("x")
    cas.add("./x.txt")
    script = tmp_path / "completion"
    script.write_text(command("completion", shell).stdout)
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    ask = {
        "bash": 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _cas; '
        'printf "%s\\n" "${COMPREPLY[@]}"',
        "fish": "source $argv[1]; complete -C (string join ' ' -- $argv[2..])",
        "zsh": "compdef() { :; }; compadd() { shift; print -rl -- ${(M)@:#$words[CURRENT]*}; }; "
        "_describe() { print -rl -- ${(M)${commands%%:*}:#$words[CURRENT]*}; }; _files() { :; }; "
        'source "$1"; shift; words=("$@"); CURRENT=$#; _cas',
    }[shell]
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}

    def complete(*words: str) -> list[str]:
        plain = [shell, "-c", ask, *(["_"] if shell != "fish" else []), str(script), "cas", *words]
        done = subprocess.run(plain, capture_output=True, text=True, env=env, cwd=project)
        assert not done.stderr
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]

    cas.save_experiment("run 1", {"loss": 1.0})
    cas.save_experiment('$(touch pwned)"', {"loss": 1.0})

    assert complete("pul") == ["pull"]
    assert complete("pull", "dat") == ["datasets/x.txt"]
    assert complete("pull", "--fro") == ["--frozen"]
    assert complete("--project", str(project), "lis") == ["list"]
    assert "zsh" in complete("completion", "z")
    assert complete("experiments", "sh") == ["show"]
    assert set(complete("experiments", "")) >= set(WORDS)
    assert complete("experiments", "best", "--to") == ["--top"]
    told = [line.replace("\\", "") for line in complete("experiments", "show", "")]
    assert told == ['$(touch pwned)"', "run 1"]
    assert "run 1" in [line.replace("\\", "") for line in complete("checkout", "run")]
    assert not (project / "pwned").exists(), "a name is only text, whatever the shell"


def on_a_terminal(*words: str) -> tuple[bytes, bytes]:
    """Run cas with stderr on a terminal, and return stdout and what the terminal was sent."""
    import pty

    leader, follower = pty.openpty()
    done = subprocess.Popen([BIN / "cas", *words], stdout=subprocess.PIPE, stderr=follower)
    os.close(follower)
    seen = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    stdout, _ = done.communicate()
    os.close(leader)
    assert done.returncode == 0
    return stdout, seen


def test_progress_and_colours_are_for_terminals(project, hub):
    (project / "big.bin").write_bytes(os.urandom(1 << 20) * 64)
    stdout, seen = on_a_terminal("add", "./big.bin")
    assert re.search(rb"\r\x1b\[K *[0-9]+ %  .*67\.1 MB  .*B/s  import big\.bin", seen)
    assert seen.endswith(b"\r\x1b[K"), "the line goes when the work ends"
    assert b"\x1b" not in stdout, "stdout is no terminal"


def test_the_progress_of_a_build_names_the_asset_and_how_much_text_there_is(project, hub):
    (project / "tales").mkdir()
    (project / "tales/train.txt").write_text("once upon a time\n" * 1000)
    assert command("add", "./tales").returncode == 0
    _, seen = on_a_terminal("add", "tokenizers/tales_bpe_258")
    told = [line for line in seen.split(b"\r\x1b[K") if b"/s" in line]
    assert told, seen
    assert all(b"17.0 kB" in one and b"build tokenizers/tales_bpe_258" in one for one in told)


# --- import cas ------------------------------------------------------------------------------


def test_import_cas_loads_nothing_heavy():
    code = f"import sys, cas; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_path_of_what_is_here_loads_nothing_heavy(project):
    (project / "x.txt").write_text("x")
    cas.add("./x.txt")
    cas.pull()
    code = f"import sys, cas; cas.path('x.txt'); print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- a pull with nothing to do -----------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace here")
def test_a_pull_with_nothing_to_do_writes_nothing_and_asks_nobody(project, tmp_path):
    (project / "x.txt").write_text("x")
    cas.add("./x.txt")
    cas.add("./x.txt", name="datasets/y")
    cas.pull()
    trace = tmp_path / "trace"
    calls = "%network,/open,creat,write,rename,link,symlink,unlink,mkdir,utimensat,chmod,fsync"
    done = subprocess.run(
        ["strace", "-f", "-o", trace, "-e", f"trace={calls}", BIN / "cas", "pull"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    if "ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert (done.returncode, done.stderr) == (0, "2 assets in place\n")
    lines = [line for line in trace.read_text().splitlines() if "+++" not in line]
    changing = [
        line
        for line in lines
        if ("open" not in line or re.search(r"O_WRONLY|O_RDWR|O_CREAT", line))
        and not re.search(r'write\(2, "2 assets|/dev/null|SIG', line)
    ]
    assert changing == []
    opened = [line for line in lines if f'"{tmp_path}' in line]
    assert not [line for line in opened if "/store/" in line], "nothing a file is looked at"


def test_the_short_pull_is_not_used_where_something_is_to_be_told(project):
    (project / "x.txt").write_text("x")
    cas.add("./x.txt")
    cas.pull()
    pulled = json.loads(command("pull", "--json").stdout)
    assert pulled == {"assets": 1, "downloaded_files": 0, "downloaded_bytes": 0, "linked": 0}
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text + '"datasets/z" = { local = "x.txt" }\n')
    assert command("pull", "--frozen").returncode == 0
    assert command("pull").returncode == 1, "out of step, also after a pull that was frozen"
    (project / "pyproject.toml").write_text(text)
    assert command("pull").returncode == 0
    view = project / "assets/datasets/x.txt"
    os.unlink(view)
    assert "1 linked" in command("pull").stderr
    cas.pull()
    tree = Path(os.readlink(view)).parent
    tree.chmod(0o755)
    (tree / "x.txt").unlink()
    done = command("pull")
    assert done.returncode == 0, done.stderr
    assert view.read_text() == "x", "a file that was taken out of a tree is put back"


def test_a_pull_of_another_day_notes_the_use(project):
    (project / "x.txt").write_text("x")
    cas.add("./x.txt")
    cas.pull()
    tree = Path(os.readlink(project / "assets/datasets/x.txt")).parent
    used = tree.with_name(tree.name + ".used")
    kept = next(Path(os.environ["XDG_CACHE_HOME"]).glob("cas/locks/*"))
    for place in (used, kept):
        os.utime(place, (0, 0))
    assert command("pull").returncode == 0
    assert used.stat().st_mtime > 1e9
    assert kept.stat().st_mtime > 1e9


# --- a stop in the middle ----------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace here")
@pytest.mark.parametrize(
    ("call", "number"),
    [("/^rename", 9), ("/^rename", 15), ("/^rename", 17), ("/symlink", 1), ("/unlink", 8)],
)
def test_adopt_killed_anywhere_loses_nothing_and_goes_on(project, call, number):
    own = project / "assets/datasets/my/own"
    (own / "sub").mkdir(parents=True)
    (own / "a.txt").write_text("one")
    (own / "sub/b.txt").write_text("two")
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    command_line = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject, BIN / "cas", "adopt"]
    subprocess.run([*command_line, "--no-hub"], capture_output=True)
    assert command("adopt", "--no-hub").returncode == 0
    assert command("pull").returncode == 0
    assert command("status").returncode == 0
    assert (own / "a.txt").read_text() + (own / "sub/b.txt").read_text() == "onetwo"
    assert own.is_symlink()
    left = [n for at, folders, files in os.walk(project) for n in folders + files]
    assert not [name for name in left if name.startswith(".cas-")]


# --- every public function ---------------------------------------------------------------------


def test_every_public_function_is_here_and_its_errors_are_ours(project):
    assert set(cas.__all__) <= set(dir(cas))
    for name in cas.__all__:
        assert getattr(cas, name).__doc__ or name == "__version__"
    for error in (UsageError, NoProject, NotPulled, Edited, IntegrityError, OutOfStep):
        assert issubclass(error, cas.CasError)
    for call in (
        lambda: cas.path("nothing"),
        lambda: cas.add("./nothing"),
        lambda: cas.pull("nothing"),
        lambda: cas.verify("nothing"),
        lambda: cas.verify(fast=True, full=True),
        lambda: cas.lock(update=["nothing"]),
        lambda: cas.query_experiments_arrow("DROP TABLE x"),
        lambda: cas.save_experiment("", {}),
        lambda: cas.load_dataset("nothing"),
        lambda: cas.load_tokenizer("nothing"),
    ):
        with pytest.raises(CasError):
            call()


def test_no_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAS_PROJECT", raising=False)
    forget_current()
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "x.py"), raising=False)
    with pytest.raises(NoProject) as raised:
        cas.pull()
    assert raised.value.hint == "cas init"
    monkeypatch.setenv("CAS_PROJECT", str(tmp_path / "nowhere"))
    with pytest.raises(NoProject, match="CAS_PROJECT"):
        cas.pull()
    forget_current()


def test_the_project_of_the_main_script_serves_python_and_not_the_command(project, tmp_path):
    (project / "x.txt").write_text("x")
    cas.add("./x.txt")
    script = project / "show.py"
    script.write_text("import cas; print(cas.path('x.txt').read_text())")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "x\n"
    assert command("list", cwd=tmp_path).returncode == 1
    env = {**os.environ, "CAS_PROJECT": str(project)}
    assert command("list", cwd=tmp_path, env=env).returncode == 0


def test_add_lock_pull_status_verify_gc_return_the_documents_of_json(project, hub):
    first = commit(hub, a_txt="one", b_txt="two", c_md="three")
    moves = cas.add("o/n", include=["*.txt"], exclude=["b*"], group=["paper"])
    assert [(m["name"], m["old"], m["commit"], m["files"], m["size"]) for m in moves] == [
        ("datasets/o/n", None, first, 1, 3)
    ]
    assert 'groups = ["paper"]' in (project / "pyproject.toml").read_text()
    assert cas.add("dataset:o/n", include="*.txt", exclude="b*", group="paper") == []
    assert cas.lock() == []
    second = commit(hub, a_txt="other")
    assert cas.lock(update=["o/n"], dry_run=True)[0]["commit"] == second
    moved = cas.lock(update="o/n")
    assert [(m["old"], m["commit"]) for m in moved] == [(moves[0]["new"], second)]
    assert cas.lock(check=True) == []
    assert cas.status()["assets"][0]["state"] == "not pulled"
    with pytest.raises(NotPulled):
        cas.path("o/n")
    pulled = cas.pull(group=["paper"])
    assert (pulled["assets"], pulled["linked"]) == (1, 1)
    assert cas.pull("o/n", frozen=True, offline=True, no_views=True)["linked"] == 0
    assert cas.status() == {
        "lock": "in step",
        "assets": [{"name": "datasets/o/n", "state": "ok", "detail": "", "tree": moved[0]["new"],
                    "second_copy": True}],
    }  # fmt: skip
    report = cas.verify(full=True)
    assert report["bad"] == []
    assert report["objects"] == 4, "two files, two listings"
    assert cas.verify("o/n", fast=True)["bad"] == []
    assert cas.gc(dry_run=True)["trees"] == 0
    collected = cas.gc(older_than=timedelta(0))
    assert (collected["dry_run"], collected["objects"]) == (False, 2), "the first commit's"
    with pytest.raises(UnknownAsset):
        cas.pull("nothing")
    with pytest.raises(UnknownAsset):
        cas.pull(group=["no_such_group"])


def test_add_refuses_with_nothing_done(project, hub):
    commit(hub, a_txt="one")
    before = (project / "assets.lock").read_bytes(), (project / "pyproject.toml").read_bytes()
    with pytest.raises(UsageError):
        cas.add("o/n", vocab_size=5)
    with pytest.raises(UsageError):
        cas.add("o/n", name="datasets/CON")
    assert cas.add("o/n", dry_run=True)[0]["files"] == 1
    assert before == ((project / "assets.lock").read_bytes(),
                      (project / "pyproject.toml").read_bytes())  # fmt: skip
    assert not (project / "assets/datasets/o").exists()
    assert cas.add("o/n", no_pull=True)
    assert not (project / "assets/datasets/o").exists()


def test_a_path_object_is_a_local_path(project):
    (project / "runs").mkdir()
    (project / "runs/x.txt").write_text("x")
    assert cas.add(Path("runs"))[0]["name"] == "datasets/runs"
    assert cas.path("runs").is_dir()


def test_path_is_the_resolved_tree_and_pull_fetches_it(project, hub):
    commit(hub, a_txt="one")
    cas.add("o/n", no_pull=True)
    with pytest.raises(NotPulled) as raised:
        cas.path("o/n")
    assert raised.value.hint == "cas pull datasets/o/n"
    path = cas.path("o/n", pull=True)
    assert path == Path(os.path.realpath(project / "assets/datasets/o/n"))
    assert path.parts[-3] == "trees"
    hub.reset_log()
    assert cas.path("o/n", pull=True) == cas.path("n") == path
    assert hub.count() == 0
    assert cas.uses() == [("datasets/o/n", f"t1:{path.parts[-2]}{path.parts[-1]}")]
    with pytest.raises(PermissionError if os.geteuid() else OSError):
        (path / "new").write_text("") if os.geteuid() else os.rename(path / "a.txt", "/dev/null/x")


def test_download_makes_no_request_for_what_is_here(project, hub):
    commit(hub, a_txt="one")
    commit(hub, kind="model", config_json="{}")
    dataset, model = cas.download_dataset("o/n"), cas.download_model("o/n")
    assert (dataset / "a.txt").read_text() == "one"
    assert (model / "config.json").read_text() == "{}"
    hub.reset_log()
    assert (cas.download_dataset("o/n"), cas.download_model("o/n")) == (dataset, model)
    assert cas.download_dataset("o/n", name="datasets/o/n") == dataset
    assert hub.count() == 0
    shutil.rmtree(project / "assets/datasets")
    assert cas.download_dataset("o/n") == dataset


def test_edited_assets_are_not_given_out(project):
    from cas.installer import edit
    from cas.project import current

    (project / "x.txt").write_text("x")
    cas.add("./x.txt")
    cas.pull()
    cas.path("x.txt")
    edit(current(), "x.txt")
    with pytest.raises(Edited, match="writable copy"):
        cas.path("x.txt")
    assert cas.status()["assets"][0]["state"] == "edited"
    assert cas.pull()["assets"] == 1
    assert cas.pull("x.txt", force=True)["linked"] == 1
    cas.path("x.txt")


def test_init_keeps_what_is_there_and_restores_the_stubs(project):
    (project / "assets/README.md").write_text("mine")
    (project / "assets/models/README.md").unlink()
    (project / ".gitignore").write_text("*.log\n")
    text = '# mine\n[project]\nname = "x"\n'
    (project / "pyproject.toml").write_text(text)
    cas.init(project)
    assert (project / "assets/README.md").read_text() == "mine"
    assert (project / "assets/models/README.md").exists()
    assert (project / ".gitignore").read_text().startswith("*.log\n")
    assert (project / "pyproject.toml").read_text().startswith(text)
    subprocess.run(["git", "init", "-q", "."], check=True)
    for place, ignored in (
        ("assets/datasets/o/n", True),
        ("assets/models/x.pt", True),
        ("assets/outputs/experiments/a.parquet", True),
        ("assets/.cas/root", True),
        ("assets/models/README.md", False),
    ):
        done = subprocess.run(["git", "check-ignore", "-q", place])
        assert (done.returncode == 0) == ignored, place


def test_what_can_not_be_repaired_names_its_asset(project):
    (project / "x.txt").write_text("x")
    move = cas.add("./x.txt")[0]
    store = Path(cas.path("x.txt")).parents[3]
    (found,) = (p for p in store.glob("objects/*/*") if p.read_bytes() == b"x")
    found.chmod(0o644)
    found.write_bytes(b"y")
    found.chmod(0o444)
    (project / "x.txt").unlink()
    bad = {row["hash"]: row["assets"] for row in cas.verify(full=True, repair=True)["bad"]}
    assert bad == {
        found.parent.name + found.name: ["datasets/x.txt"],
        move["new"].removeprefix("t1:"): ["datasets/x.txt"],
    }


def test_the_number_of_largest_trees_is_one_that_can_be(project):
    (project / "x.txt").write_text("x")
    cas.add("./x.txt")
    done = command("store", "--largest", "--json")
    assert [row["bytes"] for row in json.loads(done.stdout)["largest"]] == [1]
    assert [command("store", "--largest", n).returncode for n in ("-1", "0", "x")] == [2, 2, 2]


def test_the_next_add_removes_what_a_killed_one_left(project):
    for name in ("x", "y"):
        (project / f"{name}.txt").write_text(name)
    cas.add("./x.txt")
    tree = cas.add("./y.txt", dry_run=True)[0]["new"]
    store = Path(cas.path("x.txt")).parents[3]
    (root,) = (store / "roots").iterdir()
    beside = store / "trees" / tree[3:5]
    beside.mkdir(exist_ok=True)
    ask = "from cas.files import temporary_name; print(temporary_name())"
    left = []
    for place in (store, root, beside):
        dead = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
        left.append(place / dead.stdout.strip())
        left[-1].mkdir()
        (left[-1] / "part").write_text("")
    cas.add("./y.txt")
    assert [path for path in left if path.exists()] == []

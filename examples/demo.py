"""Show the main job of cas, printing each command that it runs.

By default all of it happens on this machine: a Hub of the tests on loopback, serving a real
model and a corpus of generated stories, and a store in .demo/. With CAS_DEMO_HUB=1 the same
commands use the real Hub, for TinyStories and gpt2.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
WORK = HERE / ".demo"
REAL = os.environ.get("CAS_DEMO_HUB") == "1"

TRAIN = """\
import math
import random

import cas

text = cas.path("{dataset}")                       # the locked tree, and the use is noted
tokenizer = cas.path("{tokenizer}")
model = cas.path("{model}")

rng = random.Random(text.name)                     # stands for a training run on the text
rows = []
for step in range(0, 1000, 100):
    loss = 3.2 * math.exp(-step / 400) + 1.9 + rng.random() / 20
    rows.append({{"step": step, "loss": loss, "perplexity": math.exp(loss)}})
cas.save_experiment("{name}", rows, metadata={{"model": "custom-transformer", "lr": 3e-4}})
"""


def main() -> int:
    """Run the demo and return its exit code."""
    if WORK.exists():
        subprocess.run(["chmod", "-R", "u+w", str(WORK)], check=False)
        shutil.rmtree(WORK)
    WORK.mkdir()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ |= {
        "CAS_STORE": str(WORK / "store"),
        "XDG_CACHE_HOME": str(WORK / "cache"),
        "HF_HOME": os.environ.get("HF_HOME", str(WORK / "huggingface"))
        if REAL
        else str(WORK / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    for name in ("CAS_PROJECT", "HF_HUB_OFFLINE"):
        os.environ.pop(name, None)
    if REAL:
        scratch("roneneldan/TinyStories", ["--include", "data/validation*.parquet"], "gpt2", None)
        return 0
    hub = LocalHub()
    try:
        hub.start(stage=2)
        own_assets()
        hub.stop()
        hub.start(stage=1)
        scratch("cas-demo/stories", [], "sentence-transformers/all-MiniLM-L6-v2", hub)
    finally:
        hub.stop()
    say("Done. All of it is in .demo/; `make clean` removes it.")
    return 0


def own_assets() -> None:
    """Pull what this repository's own assets.lock pins."""
    say("This repository is its own first user: its assets.lock pins a dataset, a model and a "
        "tokenizer.")  # fmt: skip
    run("cas pull", cwd=HERE)
    run("cas list", cwd=HERE)
    run("cas status", cwd=HERE)
    run("cas pull", cwd=HERE, note="again: nothing to do")


def scratch(dataset: str, options: list[str], model: str, hub: LocalHub | None) -> None:
    """Walk through the main job in a new project."""
    project = WORK / "project"
    project.mkdir()
    short = dataset.rpartition("/")[2].lower()
    tokenizer = f"tokenizers/{short}_bpe_4096"
    say("A new project: what it asks for, exactly which bytes that is, and views of them.")
    git = shutil.which("git") is not None
    if git:
        run("git init -q .", cwd=project)
    run("cas init", cwd=project)
    run(f"cas add {dataset} {shlex.join(options)}".strip(), cwd=project)
    patterns = [] if hub else ["*.json", "merges.txt", "model.safetensors"]
    run(" ".join([f"cas add {model}", *(f"--include {shlex.quote(p)}" for p in patterns)]),
        cwd=project)  # fmt: skip
    (project / "runs").mkdir()
    (project / "runs/exp_000.pt").write_bytes(bytes(range(256)) * 4000)
    run("cas add runs/exp_000.pt", cwd=project)
    run(
        f"cas add {tokenizer}",
        cwd=project,
        note="trained on what is locked; the name is the recipe",
    )
    run(
        f"cas add tokens/{short}_4096 --input {short} --tokenizer {short}_bpe_4096",
        cwd=project,
        note="its text as ids, in shards that training maps into memory",
    )
    run(f"cas tokens {short} --tokenizer {short}_bpe_4096 --sizes 1024,2048 --plot plots",
        cwd=project)  # fmt: skip
    run("cas lock --check && cas status && cas list", cwd=project)
    run("cat assets.lock", cwd=project)

    say("Experiments record the hashes of the assets that they used.")
    write_train(project, "exp_001", dataset, tokenizer, model)
    run("python train.py", cwd=project)
    run("cas experiments --list", cwd=project)
    if git:
        run("git add -A && git -c user.name=demo -c user.email=demo@localhost commit -qm 'exp_001'",
            cwd=project)  # fmt: skip

    if hub:
        say("`main` moves on the Hub. Nothing here moves until it is asked to.")
        hub.stop()
        hub.start(stage=2)
        run("cas pull", cwd=project)
        run(f"cas lock --update {dataset}", cwd=project)
        run(f"cas lock --update {dataset} --build && cas pull", cwd=project,
            note="what is made of it is made again")  # fmt: skip
        if git:
            run("cas diff", cwd=project)
        write_train(project, "exp_002", dataset, tokenizer, model)
        run("python train.py", cwd=project)

    say("Which experiments used which revision of a dataset? One query, joined on the hash.")
    run("cas experiments --best perplexity --top 5", cwd=project)
    run(
        'cas query "SELECT u.name, a.tree[:15] AS tree, e.experiment_name,'
        " MIN(e.perplexity) AS best"
        " FROM experiments e JOIN experiment_assets u USING (experiment_id)"
        ' JOIN assets a ON a.tree = u.tree GROUP BY ALL ORDER BY 1, 3"',
        cwd=project,
    )

    say("What came of a dataset, and what differs between two runs.")
    run(f"cas lineage {dataset} --down", cwd=project)
    if hub:
        run("cas stale", cwd=project)
        run("cas experiments compare exp_001 exp_002", cwd=project)
    run("cas report -o report.html", cwd=project, note="one file, for a browser")

    say("A second checkout, same store: no download, one symlink an asset.")
    second = WORK / "second"
    if git:
        run("git add -A && git -c user.name=demo -c user.email=demo@localhost commit -qm 'exp_002'",
            cwd=project, quiet=True)  # fmt: skip
        run("git clone -q project second", cwd=WORK)
    else:
        second.mkdir()
        for name in ("pyproject.toml", "assets.lock"):
            shutil.copy(project / name, second / name)
    run("cas pull --offline", cwd=second)

    say("What is stored can be checked and taken away with no cas at all.")
    tree = project_path(project, dataset)
    listing = f"{WORK}/store/objects/{tree.parent.name}/{tree.name}"
    run(f"(cd {shlex.quote(str(tree))} && sha256sum -c {shlex.quote(listing)})", cwd=project)
    run("cas verify --full", cwd=project)
    run(f"cas export {tokenizer} {WORK}/exported && ls {WORK}/exported", cwd=project)


def write_train(project: Path, name: str, dataset: str, tokenizer: str, model: str) -> None:
    """Write the script that stands for a training run."""
    text = TRAIN.format(name=name, dataset=dataset, tokenizer=tokenizer, model=model)
    (project / "train.py").write_text(text)
    if name == "exp_001":
        say_code(project / "train.py")


def project_path(project: Path, name: str) -> Path:
    """Return what ``cas path`` prints."""
    done = subprocess.run(
        ["cas", "path", name], cwd=project, check=True, capture_output=True, text=True
    )
    return Path(done.stdout.strip())


class LocalHub:
    """The tests' Hub, in a process of its own, on one port whatever its stage."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self, *, stage: int) -> None:
        """Serve the demo's repositories with their first, or their first two commits."""
        command = [sys.executable, "-m", "tests.hubserver", "--seed", "demo"]
        command += ["--stage", str(stage), "--port", str(self.port)]
        self.process = subprocess.Popen(
            command,
            cwd=HERE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": ""},
        )
        assert self.process.stdout is not None
        endpoint = self.process.stdout.readline().strip()
        if not endpoint:
            raise SystemExit("the local Hub did not start")
        self.port = int(endpoint.rpartition(":")[2])
        os.environ["HF_ENDPOINT"] = endpoint

    def stop(self) -> None:
        """End the server."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


def run(command: str, *, cwd: Path, note: str = "", quiet: bool = False) -> None:
    """Print and run one command; end the demo where it fails."""
    if not quiet:
        shown = command if len(command) < 400 else command[:400] + "…"
        print("\n" + paint(f"$ {shown}", "1") + (f"   # {note}" if note else ""), flush=True)
    done = subprocess.run(command, shell=True, cwd=cwd, check=False)
    if done.returncode:
        raise SystemExit(f"demo: {command!r} ended with {done.returncode}")


def say(text: str) -> None:
    """Print what comes next."""
    print("\n" + paint(f"# {text}", "36"), flush=True)


def say_code(path: Path) -> None:
    """Print a script."""
    print("\n" + paint(f"$ cat {path.name}", "1") + f"\n{path.read_text()}", end="", flush=True)


def paint(text: str, colour: str) -> str:
    """Return text in a colour, on a terminal."""
    return f"\x1b[{colour}m{text}\x1b[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    sys.exit(main())

"""Programs of others, each in an environment of its own below ``.bench``."""

from __future__ import annotations

import subprocess
import venv

from .place import HOME


def find(package: str, program: str | None = None) -> tuple[str | None, str]:
    """Return a program of a package from PyPI and its version, or None and why not.

    It is installed into ``.bench/<package>`` on first use.
    """
    folder = HOME / package
    place = folder / "bin" / (program or package)
    if not place.exists():
        try:
            venv.create(folder, with_pip=True, clear=True)
            pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", package]
            subprocess.run(pip, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            return None, f"{package} could not be installed: {said.strip()[-200:]}"
    said = subprocess.run([place, "--version"], capture_output=True, text=True, check=False)
    if said.returncode:
        return None, said.stderr.strip()[-200:]
    version = said.stdout.split()
    return str(place), version[1] if len(version) > 1 else version[0]


def find_dvc() -> tuple[str | None, str]:
    """Return dvc and its version, or None and why not."""
    return find("dvc")

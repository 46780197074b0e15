# SPDX-License-Identifier: GPL-3.0-or-later
"""What all checks share: where things are, what the source files are, and how a tool is run."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE, NAME = "slipway", "webapp"
COLLECTION = f"{NAMESPACE}.{NAME}"
COLLECTIONS = ROOT / ".build" / Path(sys.prefix).name.replace("venv", "collections")
# Not resolved: the programs of a virtual environment are beside the link, not beside what it points to.
PROGRAMS = Path(sys.executable).parent
# Survives a fresh checkout: the environments that ansible-test builds for itself take minutes.
CACHE = Path(os.environ.get("SLIPWAY_DEV_CACHE", "~/.cache/slipway-dev")).expanduser()
TIMEOUT_S = 1200


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment in which tools run: this virtual environment's programs and the collections of this checkout."""
    return {
        **os.environ,
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(ROOT / ".build" / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        "PYTHONWARNINGS": "ignore",
        **(extra or {}),
    }


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a tool and give back its standard output; the test fails with all of its output when the tool does."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=environment(env), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        pytest.fail(f"$ {' '.join(words)}\n{done.stdout}{done.stderr}\nexit code {done.returncode}", pytrace=False)
    return done.stdout


def refuse(findings: Iterable[str]) -> None:
    """Fail with one line for each finding."""
    lines = list(findings)
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


@functools.cache
def source_files() -> tuple[Path, ...]:
    """Every file of the project, relative to its root: tracked ones, and new ones that Git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = {Path(name) for name in listed.split("\0") if name}
    return tuple(sorted(path for path in paths if (ROOT / path).is_file() and not (ROOT / path).is_symlink()))


def under(*places: str, suffix: str = "") -> Iterator[Path]:
    """The source files under some directories."""
    for path in source_files():
        if any(path.is_relative_to(place) for place in places) and path.name.endswith(suffix):
            yield path


def playbooks() -> list[str]:
    """The playbooks that an operator calls, by name."""
    return sorted(path.stem for path in source_files() if path.parent == Path("playbooks") and path.suffix == ".yml")


def modules() -> list[str]:
    """The modules, by name."""
    return sorted(path.stem for path in under("plugins/modules", suffix=".py") if path.stem != "__init__")


def copy_sources(destination: Path) -> Path:
    """Copy the source files, as they are in the work tree, into a directory."""
    for path in source_files():
        target = destination / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target)
    return destination


def pythons(versions: Iterable[str]) -> dict[str, Path]:
    """Which of these Python versions exist on this machine, and where."""
    found = {}
    for version in versions:
        names = [shutil.which(f"python{version}", path=place) for place in os.environ["PATH"].split(os.pathsep)]
        managed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
        managed += sorted(Path.home().glob(f".local/share/uv/python/cpython-{version}.*/bin/python{version}"))
        for candidate in [*map(Path, filter(None, names)), *managed]:
            if _answers(candidate, version):
                found[version] = candidate
                break
    return found


def _answers(python: Path, version: str) -> bool:
    """A version manager's shim exists for every version but works for the chosen one only."""
    try:
        done = subprocess.run([python, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    return done.returncode == 0 and bool(re.match(rf"Python {re.escape(version)}\.", done.stdout))

# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test sanity, all of it, on every Python that hosts may have, without a single ignored finding."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checks import tools

# Up to the newest that a supported system ships.
TARGETS = ("3.9", "3.10", "3.11", "3.12", "3.13")
# ansible-test fetches pip's bootstrap script from a host of its own, but every Python has pip aboard. ensurepip turns
# pip's configuration off in the environment of its process, so what follows gets the environment from before.
STAND_IN = """\
import ensurepip, os, subprocess, sys
environment = dict(os.environ)
arguments = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
ensurepip.bootstrap(default_pip=True)
subprocess.check_call([sys.executable, "-m", "pip", "install", *arguments], env=environment)
"""

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What ansible-test said."""

    code: int
    output: str

    def findings(self) -> list[str]:
        """Its findings, without the tale of what it installed."""
        return [line for line in self.output.splitlines() if re.match(r"ERROR|FATAL|\w+Error|Traceback", line)]


def pip_release() -> str:
    """Which release of pip this ansible-test asks for."""
    question = "from ansible_test._internal import python_requirements as module; print(module.__file__)"
    place = Path(tools.run(sys.executable, "-c", question).strip())
    found = re.search(r"\bpip='([0-9.]+)'", place.read_text())
    assert found, f"{place} names no release of pip"
    return found[1]


def pip_configuration() -> str:
    """This machine's configuration of pip as a file: ansible-test hands neither the variables nor the home down."""
    listed = tools.run(sys.executable, "-m", "pip", "config", "list")
    # Variables of the environment come first in the list and win.
    values: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda text: not text.startswith(":env:")):
        found = re.match(r"(?:global|user|install|:env:)\.([\w-]+)='(.*)'$", line)
        if found and found[1] not in ("config-file", "require-virtualenv", "user"):
            values.setdefault(found[1], found[2].replace("%", "%%"))
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in values.items()), ""])


@pytest.fixture(scope="module")
def home() -> Path:
    """A home directory for ansible-test that survives: its virtual environments take minutes to make."""
    place = tools.CACHE / "ansible-test"
    files = {
        Path(".ansible/test/cache") / f"get_pip_{pip_release().replace('.', '_')}.py": STAND_IN,
        Path(".config/pip/pip.conf"): pip_configuration(),
    }
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    return place


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source files where ansible-test wants them: below ansible_collections, in a Git repository of their own."""
    top = tmp_path_factory.mktemp("sanity") / "ansible_collections"
    place = tools.copy_sources(top / tools.NAMESPACE / tools.NAME)
    for found in (tools.COLLECTIONS / "ansible_collections").iterdir():
        if found.name != tools.NAMESPACE:
            (top / found.name).symlink_to(found.resolve())
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=place, check=True)
    return place


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every target Python of this machine: ansible-test looks for them on the PATH only."""
    place = tmp_path_factory.mktemp("pythons")
    for version, python in tools.pythons(TARGETS).items():
        (place / f"python{version}").symlink_to(python.resolve())
    return place


@pytest.fixture(scope="module")
def sanity(home: Path, checkout: Path, targets: Path) -> Outcome:
    """One run of all tests."""
    environment = tools.environment({"HOME": str(home)})
    environment["PATH"] = f"{tools.PROGRAMS}{os.pathsep}{targets}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["ansible-test", "sanity", "--color", "no", "--truncate", "0"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=tools.TIMEOUT_S,
        check=False,
    )
    return Outcome(code=done.returncode, output=done.stdout)


def test_no_finding(sanity: Outcome) -> None:
    if sanity.code != 0:
        pytest.fail("\n".join(sanity.findings() or [sanity.output[-5000:]]), pytrace=False)


@pytest.mark.parametrize("version", TARGETS)
def test_plugins_compile_and_import_on_target(sanity: Outcome, targets: Path, version: str) -> None:
    """That these two ran; whether they found something is told above."""
    if not (targets / f"python{version}").exists():
        pytest.skip(f"there is no Python {version} on this machine")
    for name in ("compile", "import"):
        assert f'Running sanity test "{name}" on Python {version}' in sanity.output


def test_nothing_is_ignored() -> None:
    assert not list(tools.under("tests/sanity"))

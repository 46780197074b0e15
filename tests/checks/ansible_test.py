# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test sanity as it wants to be run: a home that survives, every target Python, a checkout where it looks."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What ansible-test said."""

    code: int
    output: str

    def refuse(self) -> None:
        """Fail with its findings, without the tale of what it installed."""
        if self.code != 0:
            tools.refuse(self._findings() or [self.output[-5000:]])

    def _findings(self) -> list[str]:
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


def _home() -> Path:
    """A home directory for ansible-test that survives: its virtual environments take minutes to make."""
    place = tools.CACHE / "ansible-test"
    files = {
        Path(".ansible/test/cache") / f"get_pip_{pip_release().replace('.', '_')}.py": STAND_IN,
        Path(".config/pip/pip.conf"): pip_configuration(),
    }
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        # Another run may be reading it.
        if not (place / name).exists() or (place / name).read_text() != content:
            (place / name).write_text(content)
    return place


def _checkout(scratch: Path) -> Path:
    """The source files where ansible-test wants them: below ansible_collections, in a Git repository of their own."""
    top = scratch / "ansible_collections"
    place = tools.copy_sources(top / tools.NAMESPACE / tools.NAME)
    for found in (tools.COLLECTIONS / "ansible_collections").iterdir():
        if found.name != tools.NAMESPACE:
            (top / found.name).symlink_to(found.resolve())
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=place, check=True)
    return place


def _pythons(place: Path) -> Path:
    """A directory with every target Python of this machine: ansible-test looks for them on the PATH only."""
    place.mkdir()
    for version, python in tools.pythons(TARGETS).items():
        (place / f"python{version}").symlink_to(python.resolve())
    return place


def sanity(scratch: Path, *options: str) -> Outcome:
    """Run its tests in a directory of one's own; all of them, or those that the options leave."""
    environment = tools.environment({"HOME": str(_home())})
    pythons = _pythons(scratch / "pythons")
    environment["PATH"] = f"{tools.PROGRAMS}{os.pathsep}{pythons}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["ansible-test", "sanity", "--color", "no", "--truncate", "0", *options],
        cwd=_checkout(scratch),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=tools.TIMEOUT_S,
        check=False,
    )
    return Outcome(code=done.returncode, output=done.stdout)

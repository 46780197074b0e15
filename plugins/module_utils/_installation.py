# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put one of the collection's own programs, a package of Python files, on a host: whole, by one rename.

So come the modules themselves, too, so that they need not be sent for each task (plugins/plugin_utils/installed.py).

Each version has a directory named after its content; a link points to the one that counts. Whoever runs an old version
keeps its files: it is removed a day after another one has taken its place, or later.
"""

from __future__ import annotations

import hashlib
import os
import py_compile
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import (
    fsync_tree,
    point_symlink,
    read_link,
    read_text,
    write_atomically,
)
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step

NAME = r"_?[a-z][a-z0-9_]*"
FILE = rf"({NAME}/)*[a-z_][a-z0-9_]*\.[a-z]+"
MODULES = "slipway_modules"  # the package of the modules themselves
KEPT_SECONDS = 86400.0  # longer than any module or program runs


def version_of(name: str, files: Mapping[str, str]) -> str:
    """The directory that a package has for this very content, its files by relative path."""
    digest = hashlib.sha256()
    for path, text in sorted(files.items()):
        digest.update(f"{path}\0{len(text)}\0{text}".encode())
    return f".{name}-{digest.hexdigest()[:16]}"


@dataclass(frozen=True)
class Package:
    """A package ``name`` below ``library``, the directory of its content, and its launcher's name and text, if any."""

    library: str
    name: str
    version: str
    launcher: str = ""
    launcher_text: str = ""

    @property
    def link(self) -> str:
        return os.path.join(self.library, self.name)

    @property
    def directory(self) -> str:
        return os.path.join(self.library, self.version)


def refuse_strange(package: Package, files: Mapping[str, str]) -> None:
    """Files that are no package, or not those that were announced."""
    strange = [path for path in files if not re.fullmatch(FILE, path)]
    found = ", ".join(strange) if files else "no file"
    if not found and version_of(package.name, files) != package.version:
        found = "other files than were announced"
    if found or not re.fullmatch(NAME, package.name):
        raise SlipwayError(
            f"{package.name} is not a package that can be installed",
            found=found,
            next_step="install the collection anew",
        )


def is_whole(package: Package) -> bool:
    """Whether its directory has these very files; compiled ones beside them do not matter."""
    found = {}
    for directory, _subdirectories, names in os.walk(package.directory):
        for name in names:
            place = os.path.join(directory, name)
            if not name.endswith(".pyc"):
                # Not read_text: what is damaged is other text here, not an error.
                with open(place, encoding="utf-8", errors="replace", newline="") as stream:
                    found[os.path.relpath(place, package.directory)] = stream.read()
    return bool(found) and version_of(package.name, found) == package.version


def plan(package: Package) -> list[Step]:
    """What is to be done, from what is there."""
    steps = []
    if not os.path.isdir(package.library):
        raise SlipwayError(
            f"{package.name} cannot be installed",
            found=f"no {package.library}",
            next_step="apply the role slipway.webapp.host first, as playbooks/provision.yml does",
        )
    if read_link(package.link) != package.version or not is_whole(package):
        steps.append(Step("package", f"install {package.link}"))
    if package.launcher and read_text(os.path.join(package.library, package.launcher)) != package.launcher_text:
        steps.append(Step("launcher", f"write {os.path.join(package.library, package.launcher)}"))
    return steps


def apply(package: Package, step: Step, files: Mapping[str, str], *, now: float) -> None:
    """Do one step, ``now`` in seconds since the epoch. ``files`` are needed where the directory is not whole.

    One at a time on a host: who calls it holds a lock.
    """
    if step.name == "launcher":
        place = os.path.join(package.library, package.launcher)
        write_atomically(place, package.launcher_text.encode())
        return
    if not is_whole(package):
        refuse_strange(package, files)
        _remove(package.directory)
        _write(files, package.directory)
    before = read_link(package.link)
    if before and before != package.version and os.path.isdir(os.path.join(package.library, before)):
        os.utime(os.path.join(package.library, before), (now, now))  # from now on it is an old one
    point_symlink(package.link, package.version)
    _tidy(package, now=now)


def _write(files: Mapping[str, str], target: str) -> None:
    partial = f"{target}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for path, text in files.items():
            place = os.path.join(partial, path)
            os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
            with open(place, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
            os.chmod(place, 0o644)
            if place.endswith(".py"):
                # Beside the file, because nobody but root may write there later.
                py_compile.compile(place, dfile=os.path.join(target, path), doraise=True)
        for directory, _subdirectories, _files in os.walk(partial):
            os.chmod(directory, 0o755)
        fsync_tree(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
        raise
    os.rename(partial, target)


def _remove(directory: str) -> None:
    """Under another name first: what has lost some of its files must not be taken for the whole."""
    removed = f"{directory}.removed"
    shutil.rmtree(removed, ignore_errors=True)  # of a removal that was cut off
    if os.path.isdir(directory):
        os.rename(directory, removed)
        shutil.rmtree(removed, ignore_errors=True)


def _tidy(package: Package, *, now: float) -> None:
    """Remove the versions that have been old for long, and what a crash has left."""
    for name in os.listdir(package.library):
        place = os.path.join(package.library, name)
        if not name.startswith(f".{package.name}-") or name == package.version:
            continue
        if name.endswith((".partial", ".removed")):
            shutil.rmtree(place, ignore_errors=True)
        elif now - os.stat(place).st_mtime > KEPT_SECONDS:
            _remove(place)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as others receive it: built, and installed from its tarball."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from tests.checks import tools

KEPT = {"meta", "plugins", "roles", "playbooks"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Installed:
    """A place that has nothing but the installed collection and its dependencies."""

    collection: Path
    elsewhere: Path
    environment: dict[str, str]

    def run(self, *command: str) -> str:
        """Run a program from a directory that has nothing to do with the collection."""
        return tools.run(*command, cwd=self.elsewhere, env=self.environment)


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ansible-galaxy collection build` makes of this checkout."""
    place = tmp_path_factory.mktemp("built")
    tools.run("ansible-galaxy", "collection", "build", "--output-path", place, tools.ROOT)
    (built,) = place.glob(f"{tools.NAMESPACE}-{tools.NAME}-*.tar.gz")
    return built


@pytest.fixture(scope="session")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The tarball installed into an empty path, and everything outside meta, plugins, roles and playbooks deleted."""
    place = tmp_path_factory.mktemp("installed")
    # The neighbours alone: this checkout is in the same directory and must not answer by accident.
    neighbours = tmp_path_factory.mktemp("neighbours")
    (neighbours / "ansible_collections").mkdir()
    for found in (tools.COLLECTIONS / "ansible_collections").iterdir():
        if found.name != tools.NAMESPACE:
            (neighbours / "ansible_collections" / found.name).symlink_to(found.resolve())
    environment = {"ANSIBLE_COLLECTIONS_PATH": f"{place}{os.pathsep}{neighbours}"}
    options = ["--offline", "--no-deps", "--collections-path", str(place)]
    tools.run("ansible-galaxy", "collection", "install", str(tarball), *options, env=environment)
    collection = place / "ansible_collections" / tools.NAMESPACE / tools.NAME
    for found in collection.iterdir():
        if found.name not in KEPT:
            shutil.rmtree(found) if found.is_dir() else found.unlink()
    return Installed(collection=collection, elsewhere=tmp_path_factory.mktemp("elsewhere"), environment=environment)

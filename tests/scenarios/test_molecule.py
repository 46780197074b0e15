# SPDX-License-Identifier: GPL-3.0-or-later
"""The stories of operators, told on real hosts by Molecule. One host of each system carries all its stories."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREFIX = os.environ.get("SLIPWAY_PREFIX", "molecule")
LIMIT_SECONDS = 1200  # ten times what a story takes on a machine with nothing else to do

# What comes first of a system meets a host that is really empty; the others find what it installed.
STORIES = {
    "debian13": (
        "redeploy_under_load",
        "rollback",
        "bad_release",
        "config_only",
        "migration_fails",
        "backup_corrupt",
        "docker_host",
        "docker_rollback",
        "frontend",
        "swarm",
    ),
    "debian12": ("first_deploy", "asgi", "restore", "managed_database", "docker_host", "docker_deploy_under_load"),
    "ubuntu24": ("first_deploy", "docker_host"),
}
# What others tell too in another way, and what stands apart from a deploy.
LONG = {
    ("debian13", "config_only"),
    ("debian13", "rollback"),
    ("debian13", "backup_corrupt"),
    ("debian12", "restore"),
    ("debian12", "managed_database"),
    ("ubuntu24", "first_deploy"),
    ("debian13", "docker_host"),
    ("debian13", "frontend"),
    ("debian12", "docker_host"),
    ("ubuntu24", "docker_host"),
    ("debian12", "docker_deploy_under_load"),
    ("debian13", "docker_rollback"),
    ("debian13", "swarm"),
}
# Its packages are not to be had everywhere where Debian's are.
OPTIONAL = ("ubuntu24",)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment from the top of the checkout; its output is kept together."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": path, "SLIPWAY_PREFIX": PREFIX, "SLIPWAY_FLEET": "scenario", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def system(request: pytest.FixtureRequest) -> Generator[str]:
    """A fresh host with this system, for all its stories."""
    fleet = (sys.executable, "-m", "tests.hosts")
    run(*fleet, "down", "scenario", "--prefix", PREFIX)
    brought = run(*fleet, "up", "scenario", "--prefix", PREFIX, "--os", request.param)
    if brought.returncode and request.param in OPTIONAL:
        pytest.skip(f"no host with {request.param} can be made here: {brought.stdout[-500:]}")
    assert brought.returncode == 0, brought.stdout
    yield request.param
    run(*fleet, "down", "scenario", "--prefix", PREFIX)


@pytest.mark.hosts
@pytest.mark.parametrize(
    ("system", "story"),
    [
        pytest.param(system, story, marks=pytest.mark.long if (system, story) in LONG else ())
        for system, stories in STORIES.items()
        for story in stories
    ],
    indirect=["system"],
)
def test_story(system: str, story: str, capsys: pytest.CaptureFixture[str]) -> None:
    # What Molecule remembers of an earlier run (that the host is prepared) does not hold for this host.
    state = ROOT / ".build" / "molecule" / PREFIX / f"{story}-{system}"
    shutil.rmtree(state, ignore_errors=True)
    shutil.rmtree(state.parent / story, ignore_errors=True)
    began = time.monotonic()
    told = run(
        "molecule",
        *("test", "--scenario-name", story, "--destroy", "never", "--no-command-borders"),
        MOLECULE_GLOB="molecule/*/molecule.yml",
        MOLECULE_EPHEMERAL_DIRECTORY=str(state),
        SLIPWAY_OS=system,
        NO_COLOR="1",
    )
    (state.parent / f"{story}-{system}.log").write_text(told.stdout)
    counts = re.findall(r"load: sent=\d+ answered=\d+ failed=\d+", told.stdout)
    with capsys.disabled():
        print(f"\n{story} on {system}: {time.monotonic() - began:.0f} s", *counts, sep="; ", flush=True)
    assert told.returncode == 0, told.stdout

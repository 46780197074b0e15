# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of the role that run on a host: what looks, and what has the engine judge a candidate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _docker_host as host

FILES = Path(__file__).parents[3] / "roles" / "docker_host" / "files"

# An engine before 23.0, and one that has the option.
OLD = """#!/bin/sh
[ "$1" != --help ] || exit 0
grep -q wrong "$2" && { echo "unable to configure: wrong"; exit 1; }
grep -q userns "$2" && { echo "made a user"; exit 1; }
root=$(sed 's/.*"data-root": "\\([^"]*\\)".*/\\1/' "$2")
mkdir -p "$root" 2>/dev/null && exec sleep 60
echo "failed to start daemon: mkdir ${root%/data}: not a directory" | sed 's,: not,/data: not,'
exit 1
"""
NEW = """#!/bin/sh
[ "$1" != --help ] || { echo "  --validate  Validate the configuration and exit"; exit 0; }
[ "$1 $2" = "--validate --config-file" ] || exec sleep 60
grep -q wrong "$3" && { echo "unable to configure: wrong"; exit 1; }
echo "configuration OK"
"""


@pytest.mark.parametrize("engine", [OLD, NEW])
@pytest.mark.parametrize(
    ("document", "code"), [('{"icc": false}', 0), ('{"userns-remap": "default"}', 0), ('{"wrong": 1}', 1)]
)
def test_the_engine_itself_judges_a_candidate(tmp_path: Path, engine: str, document: str, code: int) -> None:
    (tmp_path / "dockerd").write_text(engine)
    (tmp_path / "dockerd").chmod(0o755)
    candidate = tmp_path / "daemon.json"
    candidate.write_text(document)
    done = subprocess.run(
        [sys.executable, FILES / "verify_docker.py", candidate],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, "wrong" in done.stderr) == (code, bool(code)), done.stderr
    assert candidate.read_text() == document


def test_what_looks_says_all_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "record").write_text('{"certificates": ["r:5000"]}')
    said = subprocess.run(
        [sys.executable, "-", tmp_path / "memory", tmp_path / "record"],
        input=(FILES / "look.py").read_text(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    found = host.read(json.loads(said))
    assert found.record == {"certificates": ["r:5000"]}
    assert found.memory == {}

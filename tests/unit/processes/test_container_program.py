# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts a program inside of a container: it becomes the program, and that one has a deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._config import render_env
from ansible_collections.slipway.webapp.plugins.module_utils._files import write_atomically
from tests.unit.ansible_runs import COLLECTIONS
from tests.unit.processes.test_entry import FILES


def inside(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(COLLECTIONS)}
    command = [sys.executable, str(FILES / "slipway-container"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_the_program_has_its_exit_code_and_output() -> None:
    done = inside("once", "20", sys.executable, "-c", "print('here'); raise SystemExit(7)")
    assert (done.returncode, done.stdout) == (7, "here\n"), done.stderr


def test_the_program_ends_when_its_time_is_over() -> None:
    began = time.monotonic()
    done = inside("once", "1", sys.executable, "-c", "import time; time.sleep(25)")
    assert done.returncode == -signal.SIGALRM, done.stderr
    assert time.monotonic() - began < 15


def test_the_program_has_the_variables_of_the_file_to_the_byte(tmp_path: Path) -> None:
    values = {"KEY": "-----BEGIN-----\r\nabc\r\n-----END-----\r", "SALT": 'a\nb\r"$\\'}
    path = tmp_path / "blue.env"
    write_atomically(str(path), render_env(values, secret=frozenset(values)).encode())
    done = inside(
        "launch", str(path), sys.executable, "-c", "import os; print(repr(os.environ['KEY'] + os.environ['SALT']))"
    )
    assert done.stdout.strip() == repr(values["KEY"] + values["SALT"]), done.stderr


@pytest.mark.parametrize("words", [("once",), ("once", "1"), ("once", "soon", "true"), ("twice", "1", "true")])
def test_other_words_are_refused(words: tuple[str, ...]) -> None:
    done = inside(*words)
    assert done.returncode == 2
    assert "once SECONDS PROGRAM" in done.stderr

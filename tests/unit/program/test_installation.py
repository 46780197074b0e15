# SPDX-License-Identifier: GPL-3.0-or-later
"""A program is installed whole or not at all, and an unchanged one is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _installation
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import locked
from ansible_collections.slipway.webapp.plugins.module_utils._installation import Package
from ansible_collections.slipway.webapp.plugins.modules import program

FILES = {"__init__.py": "", "cli.py": "print('one')\n", "inner/__init__.py": "", "inner/fine.sql": "SELECT 1\n"}
LAUNCHER = "import slipway_thing.cli\n"


def install(tmp_path: Path, *, launcher: str = LAUNCHER, days: float = 0, **changed: str) -> list[str]:
    files = {**FILES, **changed}
    version = _installation.version_of("slipway_thing", files)
    wanted = Package(str(tmp_path), "slipway_thing", version, "slipway-thing" if launcher else "", launcher)
    steps = _installation.plan(wanted)
    for step in steps:
        _installation.apply(wanted, step, files, now=time.time() + 86400 * days)
    return [step.name for step in steps]


def test_it_runs_and_a_second_time_nothing_is_done(tmp_path: Path) -> None:
    assert install(tmp_path) == ["package", "launcher"]
    done = subprocess.run([sys.executable, tmp_path / "slipway-thing"], capture_output=True, text=True, check=True)
    assert done.stdout == "one\n"
    assert (tmp_path / "slipway_thing" / "inner" / "fine.sql").read_text() == "SELECT 1\n"
    assert install(tmp_path) == []


def versions(tmp_path: Path) -> int:
    return len(list(tmp_path.glob(".slipway_thing-*")))


def test_an_old_version_stays_for_a_day_for_who_still_runs_it(tmp_path: Path) -> None:
    install(tmp_path)
    assert install(tmp_path, **{"cli.py": "print('two')\n"}) == ["package"]
    assert install(tmp_path, **{"cli.py": "print('three')\n"}, days=0.9) == ["package"]
    assert versions(tmp_path) == 3
    assert install(tmp_path, **{"cli.py": "print('four')\n"}, days=1.1) == ["package"]
    assert versions(tmp_path) == 3, "the second is old since 0.9 days, the third since now"
    assert (tmp_path / "slipway_thing" / "cli.py").read_text() == "print('four')\n"


def test_two_controllers_of_different_versions_do_not_take_each_others_away(tmp_path: Path) -> None:
    other = {"cli.py": "print('two')\n"}
    install(tmp_path)
    install(tmp_path, **other)
    assert install(tmp_path) == ["package"]
    assert install(tmp_path, **other, days=5) == ["package"]
    assert versions(tmp_path) == 2


def test_what_has_lost_a_file_is_made_anew(tmp_path: Path) -> None:
    install(tmp_path)
    damaged = (tmp_path / "slipway_thing").resolve()
    (damaged / "cli.py").unlink()
    (tmp_path / ".slipway_thing-0000.partial").mkdir()
    (tmp_path / f"{damaged.name}.removed" / "inner").mkdir(parents=True)
    assert install(tmp_path) == ["package"]
    assert (tmp_path / "slipway_thing" / "cli.py").read_text() == "print('one')\n"
    assert versions(tmp_path) == 1
    assert install(tmp_path) == []


def test_what_the_disk_has_spoilt_is_made_anew(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "slipway_thing" / "cli.py").write_bytes(b"print('\xff')\n")
    assert install(tmp_path) == ["package"]
    assert (tmp_path / "slipway_thing" / "cli.py").read_text() == "print('one')\n"


def test_a_directory_that_somebody_removed_comes_back(tmp_path: Path) -> None:
    install(tmp_path)
    shutil.rmtree((tmp_path / "slipway_thing").resolve())
    assert install(tmp_path) == ["package"]
    assert (tmp_path / "slipway_thing" / "cli.py").exists()


def test_a_changed_launcher_alone(tmp_path: Path) -> None:
    install(tmp_path)
    assert install(tmp_path, launcher=LAUNCHER + "\n") == ["launcher"]


def test_what_does_not_compile_replaces_nothing(tmp_path: Path) -> None:
    install(tmp_path)
    with pytest.raises(Exception, match="SyntaxError"):
        install(tmp_path, **{"cli.py": "print('two' oops\n"})
    assert (tmp_path / "slipway_thing" / "cli.py").read_text() == "print('one')\n"


def test_a_crash_in_the_middle_is_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "rename", lambda *_names: (_unused for _unused in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        install(tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "slipway_thing").exists()
    assert install(tmp_path) == ["package", "launcher"]


@pytest.mark.parametrize("name", ["../evil.py", "/etc/x.py", "a/../b.py", "A.py", "x"])
def test_strange_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SlipwayError, match="not a package"):
        install(tmp_path, **{name: ""})


def test_what_came_is_what_was_announced(tmp_path: Path) -> None:
    wanted = Package(str(tmp_path), "slipway_thing", _installation.version_of("slipway_thing", FILES))
    (step,) = _installation.plan(wanted)
    with pytest.raises(SlipwayError, match="other files than were announced"):
        _installation.apply(wanted, step, {**FILES, "cli.py": "print('on'"}, now=0.0)
    assert not list(tmp_path.iterdir())


def test_a_package_that_nobody_starts_has_no_launcher(tmp_path: Path) -> None:
    assert install(tmp_path, launcher="") == ["package"]
    assert install(tmp_path, launcher="") == []


def test_a_host_without_the_place_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match=r"slipway\.webapp\.host"):
        install(tmp_path / "nowhere")


def test_two_do_not_install_on_one_host_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would tidy away what the other one is writing."""
    monkeypatch.setattr(program, "LIBRARY_LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(program, "WAIT_SECONDS", 0.0)
    params = {"app": "shop", "modules": True, "version": ".slipway_modules-0", "upload": None}
    module = SimpleNamespace(check_mode=False, params={**params, "launcher": None, "launcher_text": None})
    with locked(str(tmp_path / "lock")), pytest.raises(SlipwayError, match="the installation of a program"):
        program.run(module)

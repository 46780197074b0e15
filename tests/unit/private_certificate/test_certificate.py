# SPDX-License-Identifier: GPL-3.0-or-later
"""The private authority: made once, renewed when it must be, found broken when it is. Runs the real openssl."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _certificate
from ansible_collections.slipway.webapp.plugins.module_utils._certificate import Found, Wish
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None or os.getuid() != 0, reason="needs openssl, and root to own the files"
)


class Real:
    """Runs what it is told."""

    def run(self, command: Sequence[str], **_options: Any) -> Completed:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return Completed(done.returncode, done.stdout, done.stderr)


def wish(directory: Path, *names: str, days: int = 90) -> Wish:
    return Wish(directory=str(directory), names=names or ("shop.test", "10.0.0.1"), days=days, renew_days=30)


def converge(wanted: Wish) -> list[str]:
    steps = _certificate.plan(wish=wanted, found=_certificate.probe(Real(), wish=wanted))
    for step in steps:
        _certificate.apply(step, runner=Real(), wish=wanted)
    return [step.name for step in steps]


def test_made_once(tmp_path: Path) -> None:
    assert converge(wish(tmp_path)) == ["authority", "server"]
    assert converge(wish(tmp_path)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.key", "ca.pem", "server.pem"]
    assert (tmp_path / "server.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def test_other_names_keep_the_authority(tmp_path: Path) -> None:
    converge(wish(tmp_path))
    authority = (tmp_path / "ca.pem").read_bytes()
    assert converge(wish(tmp_path, "other.test")) == ["server"]
    assert (tmp_path / "ca.pem").read_bytes() == authority


def test_renewed_before_its_end(tmp_path: Path) -> None:
    converge(wish(tmp_path, days=20))
    assert converge(wish(tmp_path)) == ["server"]


def test_a_lost_key_means_a_new_authority(tmp_path: Path) -> None:
    converge(wish(tmp_path))
    (tmp_path / "ca.key").unlink()
    assert converge(wish(tmp_path)) == ["authority", "server"]


def test_a_certificate_of_another_authority_is_replaced(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    converge(wish(tmp_path))
    converge(wish(other))
    shutil.copy(other / "server.pem", tmp_path / "server.pem")
    assert converge(wish(tmp_path)) == ["server"]


def test_nothing_is_planned_for_what_is_good(tmp_path: Path) -> None:
    wanted = wish(tmp_path, "b.test", "a.test")
    assert _certificate.plan(wish=wanted, found=Found(authority=True, names=("a.test", "b.test"))) == ()

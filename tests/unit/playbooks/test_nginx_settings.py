# SPDX-License-Identifier: GPL-3.0-or-later
"""What Nginx cannot be told is refused with a sentence, before its configuration is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, Run, local, playbook

ROLE = ROOT / "roles" / "nginx"


def check(place: Path, settings: dict[str, Any]) -> Run:
    tasks = [{"ansible.builtin.import_tasks": str(ROLE / "tasks" / "check.yml")}]
    play: dict[str, Any] = {"hosts": "all", "gather_facts": False, "tasks": tasks}
    play["vars_files"] = [str(ROLE / "defaults" / "main.yml")]
    (place / "play.yml").write_text(yaml.safe_dump([play]))
    inventory = {"all": {"hosts": {"edge1": local()}}}
    given = ("-e", json.dumps(settings))
    return playbook("play.yml", *given, cwd=place, inventory=inventory, callback="ansible.builtin.default")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"nginx_security_headers": {}},
        {"nginx_security_headers": {"Content-Security-Policy": "default-src 'self' $x \\", "X-Number": 1}},
        {"nginx_client_cookie": "__Host-sessionid"},
        {"nginx_client_cookie": "connect.sid"},
    ],
)
def test_good_ones(tmp_path: Path, settings: dict[str, Any]) -> None:
    run = check(tmp_path, settings)
    assert run.code == 0, run.everything


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"nginx_security_headers": {"X A": "a", "X-B": "b"}}, "no header can have. found: X A. expected"),
        ({"nginx_security_headers": {"X-A;": "a"}}, "found: X-A;."),
        ({"nginx_security_headers": {"X-A": "a\nb", "X-B": "b"}}, "more than one line. found: X-A. expected"),
        ({"nginx_client_cookie": "a\n"}, "nginx_client_cookie is no name of a cookie"),
        ({"nginx_client_cookie": "a=b"}, "found: a=b."),
        ({"nginx_client_cookie": ""}, "nginx_client_cookie is no name of a cookie"),
    ],
)
def test_bad_ones(tmp_path: Path, settings: dict[str, Any], found: str) -> None:
    run = check(tmp_path, settings)
    assert run.code != 0, run.everything
    assert found in " ".join(run.stdout.split())

# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks in real runs of Ansible, against a server on this machine."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from junitparser import JUnitXml

from tests.unit.ansible_runs import ROOT, Run, local, playbook

TOKEN = "tok-0123456789abcdef"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, headers too."""

    requests: ClassVar[list[str]] = []

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.requests.append(f"{self.command} {self.path} {self.headers['Host'].split(':')[0]} {body}".strip())
        said = json.dumps({"status": "ok", "headers": dict(self.headers)}).encode()
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("X-Slipway-Release", "r2")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_HEAD = do_POST = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_words: object) -> None:
        """Silence."""


@pytest.fixture
def port() -> Iterator[int]:
    Handler.requests.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def run(tmp_path: Path, port: int, checks: list[dict[str, Any]], *options: str, **settings: Any) -> Run:
    """Include the tasks as a deploy does; only the address has no TLS."""
    (tmp_path / "tasks").mkdir()
    tasks = (ROOT / "playbooks" / "tasks" / "smoke_test.yml").read_text()
    (tmp_path / "tasks" / "smoke_test.yml").write_text(tasks.replace("https://", "http://"))
    play = {
        "hosts": "all",
        "gather_facts": False,
        "module_defaults": {"group/slipway.webapp.webapp": {"app": "shop"}},
        "tasks": [{"ansible.builtin.include_tasks": "tasks/smoke_test.yml"}],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    values = {
        "webapp_domain": f"shop.example:{port}",
        "webapp_public_address": "127.0.0.1",
        "webapp_tls": "private",
        "webapp_smoke_deadline": 20,
        "webapp_smoke_checks": checks,
        "webapp_smoke_command": [],
        "webapp_smoke_command_deadline": 20,
        "webapp_smoke_junit": str(tmp_path / "smoke.xml"),
        "__run_release": "r2",
        "__webapp_answers": "r2",
        **settings,
    }
    inventory = {"all": {"hosts": {"a": local(), "localhost": local()}, "vars": values}}
    return playbook("play.yml", "-l", "a", *options, cwd=tmp_path, inventory=inventory, callback="default")


def results(tmp_path: Path) -> dict[str, list[str]]:
    """By name, what the report says is not well."""
    (suite,) = JUnitXml.fromfile(str(tmp_path / "smoke.xml"))
    return {case.name: [type(one).__name__ for one in case.result] for case in suite}


ALL = [
    {"name": "home", "path": "/?a=1", "text": "ok"},
    {"name": "post", "path": "/", "method": "POST", "body": "hunter-two", "headers": {"Authorization": TOKEN}},
    {"name": "head", "path": "/", "method": "HEAD", "headers": {"X-Debug": "q7Z"}},
]
SHOW = """printf '%s %s %s %s\\n' "$PWD" "$SMOKE_URL" "$SMOKE_RELEASE" "$SMOKE_ADDRESS" >said"""


def test_all_pass(tmp_path: Path, port: int) -> None:
    done = run(tmp_path, port, ALL, "-vvvv", webapp_smoke_command=["sh", "-c", SHOW])
    assert done.code == 0, done.everything
    assert sorted(Handler.requests) == [
        "GET /?a=1 shop.example",
        "HEAD / shop.example",
        "POST / shop.example hunter-two",
    ]
    assert results(tmp_path) == {"home": [], "post": [], "head": [], "sh": []}
    here, url, release, address = (tmp_path / "said").read_text().split()
    # A program of the operator's runs where the playbook was started.
    assert (here, url, release, address) == (str(tmp_path), f"http://shop.example:{port}", "r2", "127.0.0.1")
    for word in (TOKEN, "hunter-two", "q7Z"):
        assert word not in done.everything
        assert word not in (tmp_path / "smoke.xml").read_text()


def test_a_failure_shows_everything_and_spares_the_command(tmp_path: Path, port: int) -> None:
    checks = [
        {"name": "gone", "path": "/none", "headers": {"Authorization": TOKEN}},
        {"name": "home", "path": "/", "json": {"status": "OK"}},
        {"name": "fine", "path": "/"},
    ]
    done = run(tmp_path, port, checks, "-vvvv", webapp_smoke_command=["touch", "ran"])
    assert done.code == 2, done.everything
    assert "2 of 4 smoke tests of http://shop.example" in done.everything
    assert "gone: status 404, not 200; home: status is 'ok', not 'OK'" in done.everything
    assert results(tmp_path) == {"gone": ["Failure"], "home": ["Failure"], "fine": [], "touch": ["Skipped"]}
    assert not (tmp_path / "ran").exists()
    assert TOKEN not in done.everything
    assert TOKEN not in (tmp_path / "smoke.xml").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["sh", "-c", "echo the last words; exit 3"], "ended with 3"),
        (["sh", "-c", "sleep 60 & sleep 60"], "took longer than 1 s"),
        (["/no/such/program"], "ended with 127"),
    ],
)
def test_a_command_that_does_not_end_well(tmp_path: Path, port: int, words: list[str], why: str) -> None:
    done = run(tmp_path, port, ALL[:1], webapp_smoke_command=words, webapp_smoke_command_deadline=1)
    assert done.code == 2, done.everything
    assert (
        f"1 of 2 smoke tests of http://shop.example:{port} failed: {words[0].split('/')[-1]}: {why}" in done.everything
    )
    assert list(results(tmp_path).values()) == [[], ["Failure"]]
    if why == "ended with 3":
        assert "the last words" in done.everything


def test_check_mode_asks_nobody(tmp_path: Path, port: int) -> None:
    done = run(tmp_path, port, ALL[:1], "--check", "-v", webapp_smoke_command=["touch", "ran"])
    assert done.code == 0, done.everything
    assert "Would ask GET /?a=1" in done.everything
    assert Handler.requests == []
    assert sorted(one.name for one in tmp_path.iterdir() if one.suffix == ".xml" or one.name == "ran") == []


def test_a_report_that_cannot_be_written_takes_no_release_back(tmp_path: Path, port: int) -> None:
    done = run(tmp_path, port, ALL[:1], webapp_smoke_junit=str(tmp_path / "none" / "smoke.xml"))
    assert done.code == 0, done.everything
    assert "JUnit report cannot be written" in done.everything

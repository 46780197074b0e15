# SPDX-License-Identifier: GPL-3.0-or-later
"""How programs are run on a real host: as whom, with which environment, and that no value is ever in argv."""

from __future__ import annotations

import os
import pwd
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._host import CLEAN_PATH, HostRunner, guarded

ME = pwd.getpwuid(os.getuid())


class Module:
    check_mode = False
    _diff = False

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.argv: list[str] = []
        self.options: dict[str, Any] = {}
        self.result: dict[str, Any] = {}
        self.warnings: list[str] = []

    def run_command(self, args: list[str], **options: Any) -> tuple[int, str, str]:
        self.argv, self.options = args, options
        return self.code, "out", "err"

    def fail_json(self, msg: str, **result: Any) -> Any: ...

    def exit_json(self, **result: Any) -> Any:
        self.result = result

    def warn(self, warning: str) -> None:
        self.warnings.append(warning)


@pytest.fixture(autouse=True)
def _inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"SUDO_USER": "deploy", "ROOT_TOKEN": "root-only", "HOME": "/root"})


def test_the_applications_user_gets_nothing_of_roots() -> None:
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    module = Module()
    HostRunner(module).run(["python", "-c", "x"], user=ME.pw_name, environment={"SECRET_KEY": "planted-secret"})
    assert module.argv == [
        *("env", "--unset=ROOT_TOKEN", "--unset=SUDO_USER"),
        *("setpriv", "--reuid", ME.pw_name, "--regid", ME.pw_name, "--init-groups"),
        *("--no-new-privs", "--pdeathsig", "KILL", "--", "python", "-c", "x"),
    ]
    given = {"HOME": ME.pw_dir, "USER": ME.pw_name, "LOGNAME": ME.pw_name}
    usual = {"PATH": CLEAN_PATH, "LC_ALL": "C.UTF-8"}
    assert module.options["environ_update"] == {**given, **usual, "SECRET_KEY": "planted-secret"}


def test_root_keeps_its_own() -> None:
    module = Module()
    HostRunner(module).run(["sync", "~", "$HOME"], cwd="/srv")
    assert module.argv == ["sync", "~", "$HOME"]
    assert module.options["expand_user_and_vars"] is False
    assert module.options["cwd"] == "/srv"


def test_a_time_limit_dies_with_the_module() -> None:
    module = Module(code=124)
    answer = HostRunner(module).run(["sleep", "9"], timeout=1.5)
    assert module.argv == ["setpriv", "--pdeathsig", "KILL", "--", "timeout", "--kill-after=5", "1.5", "sleep", "9"]
    assert answer.timed_out
    assert not answer.ok


def test_a_user_who_is_not_there() -> None:
    with pytest.raises(SlipwayError, match="no user nobody-of-that-name"):
        HostRunner(Module()).run(["true"], user="nobody-of-that-name")


def test_warnings_are_said_and_are_no_part_of_the_result() -> None:
    module = Module()
    guarded(module, lambda: {"changed": True, "warnings": ["look at it"]})
    assert (module.result, module.warnings) == ({"changed": True}, ["look at it"])

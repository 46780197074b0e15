# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has been given runs every module by itself, and says so where it is not there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ansible.release
import pytest
import yaml
from ansible.plugins.action import ActionBase

from ansible_collections.slipway.webapp.plugins.module_utils import _installation
from ansible_collections.slipway.webapp.plugins.plugin_utils.installed import (
    COLLECTION,
    KNOWN_CORES,
    NAMESPACE,
    InstalledModules,
    library,
    module_files,
    script_for,
)

# Without what is installed on this machine, and without its environment.
ALONE = [sys.executable, "-I", "-S"]
IMPORT = """
import importlib, os, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
files = {
    name: str(getattr(module, "__file__", None) or sys.argv[1])
    for name, module in sys.modules.items()
    if name.startswith("ansible") and ".six.moves." not in name
}
print([name for name, file in files.items() if not file.startswith(sys.argv[1])])
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The modules as a host has them."""
    files = module_files()
    version = _installation.version_of(_installation.MODULES, files)
    package = _installation.Package(str(tmp_path_factory.mktemp("lib")), _installation.MODULES, version)
    for step in _installation.plan(package):
        _installation.apply(package, step, files, now=0.0)
    return package.directory


def run(module: str, arguments: dict[str, Any], *, directory: str) -> dict[str, Any]:
    script = script_for(module, arguments, directory=directory)
    done = subprocess.run([*ALONE, "-"], input=script, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_module_finds_all_that_it_imports_there(directory: str) -> None:
    names = [f"{NAMESPACE}.modules.{path.stem}" for path in sorted((COLLECTION / "plugins" / "modules").glob("*.py"))]
    assert len(names) > 30
    done = subprocess.run([*ALONE, "-c", IMPORT, directory, *names], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_nothing_is_compiled_when_it_runs(directory: str) -> None:
    compiled = {path.parent.parent / f"{path.name.partition('.')[0]}.py" for path in Path(directory).rglob("*.pyc")}
    assert compiled == set(Path(directory).rglob("*.py"))


def test_a_module_runs_and_answers(directory: str) -> None:
    given = {"app": "shop", "modules": True, "version": ".slipway_modules-0"}
    result = run("program", {**given, "_ansible_check_mode": True}, directory=directory)
    assert (result["changed"], len(result["actions"])) == (True, 1)


def test_what_it_refuses_is_a_result_too(directory: str) -> None:
    result = run("program", {"app": "shop"}, directory=directory)
    assert result["failed"] is True
    assert "package" in result["msg"]


def test_nothing_is_taken_from_where_somebody_works(directory: str, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not mine')\n")
    script = script_for("program", {"app": "shop"}, directory=directory)
    done = subprocess.run([sys.executable], input=script, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert json.loads(done.stdout)["failed"] is True
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["failed"] is True


def test_a_host_without_them_says_so(tmp_path: Path) -> None:
    assert run("program", {"app": "shop"}, directory=str(tmp_path / "gone")) == {"needs_packing": True}


def test_the_name_of_the_directory_is_found_once_for_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ansible.constants.DEFAULT_LOCAL_TMP", str(tmp_path))
    first = library()
    assert first.startswith("/usr/lib/slipway/.slipway_modules-")
    (tmp_path / "slipway_modules").write_text(".slipway_modules-other", encoding="utf-8")
    assert library() == "/usr/lib/slipway/.slipway_modules-other"


class Answers(ActionBase):
    """In the place of Ansible's own class: keeps from which directory a module would have run."""

    asked: list[str]

    def _execute_module(self, *_args: Any, **_kwargs: Any) -> dict[str, Any]:
        self.asked.append(self._directory)
        return {"needs_packing": True} if self._directory else {"changed": False}


class Action(InstalledModules, Answers):
    """What an action of this collection is."""

    def __init__(self) -> None:
        self.asked = []

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        raise NotImplementedError


@pytest.fixture
def action(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Action:
    monkeypatch.setattr("ansible.constants.DEFAULT_LOCAL_TMP", str(tmp_path))
    (tmp_path / "slipway_modules").write_text("here", encoding="utf-8")
    return Action()


def test_a_host_that_has_none_is_sent_the_module_once(action: Action) -> None:
    assert action._execute_module(module_name="slipway.webapp.slot", task_vars={}) == {"changed": False}
    assert action.asked == ["/usr/lib/slipway/here", ""]


@pytest.mark.parametrize(
    ("where", "value"),
    [("ansible.release.__version__", "2.22.0"), ("ansible.constants.DEFAULT_KEEP_REMOTE_FILES", True)],
)
def test_where_a_packed_module_is_wanted_it_is_packed(
    monkeypatch: pytest.MonkeyPatch, action: Action, where: str, value: object
) -> None:
    monkeypatch.setattr(where, value)
    action._execute_module(module_name="slipway.webapp.slot", task_vars={})
    assert action.asked == [""]


def test_what_goes_on_by_itself_is_packed(action: Action) -> None:
    action._execute_module(task_vars={}, wrap_async=True)
    action._execute_module(task_vars={"ansible_python_module_rlimit_nofile": 1024})
    assert action.asked == ["", ""]


def test_a_directory_that_is_removed_meanwhile_takes_no_result_away(directory: str, tmp_path: Path) -> None:
    """All that a module needs until it has answered is imported before it begins."""
    shutil.copytree(directory, tmp_path / "modules")
    module = tmp_path / "modules" / NAMESPACE.replace(".", "/") / "modules" / "program.py"
    gone = f"import shutil\nshutil.rmtree({str(tmp_path / 'modules')!r})\n"
    module.write_text(module.read_text().replace('if __name__ == "__main__":\n', f'{gone}if __name__ == "__main__":\n'))
    result = run("program", {"app": "shop"}, directory=str(tmp_path / "modules"))
    assert "package" in result["msg"]
    assert not (tmp_path / "modules").exists()


def test_it_is_known_how_this_core_starts_a_module() -> None:
    """Both pairs that are tested are; whoever raises requires_ansible in meta/runtime.yml comes by here."""
    runtime = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    assert runtime["requires_ansible"] == ">=2.19.0,<2.22.0"
    assert ansible.release.__version__.startswith(KNOWN_CORES)


def test_each_module_of_the_hosts_comes_to_them_this_way() -> None:
    """One that is forgotten in the routing works, and costs its time for ever."""
    runtime = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    with_an_action = {path.stem for path in (COLLECTION / "plugins" / "action").glob("*.py")}
    on_the_controller = {"smoke"}
    of_an_application = set(runtime["action_groups"]["webapp"])
    assert set(runtime["plugin_routing"]["modules"]) == of_an_application - with_an_action - on_the_controller

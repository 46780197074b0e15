# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of ``program``: reads the files of a package, and ships them to a host that lacks them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.slipway.webapp.plugins.module_utils._installation import MODULES, version_of
from ansible_collections.slipway.webapp.plugins.plugin_utils.installed import COLLECTION, module_files

MODULE = "slipway.webapp.program"
DOMAIN = "ansible_collections.slipway.webapp.plugins.module_utils"


def domain_files(names: list[str]) -> dict[str, str]:
    """These files of the domain and all that they import, by the path below which Python finds them."""
    found: dict[str, str] = {}
    due = list(names)
    while due:
        name = due.pop()
        path = f"{DOMAIN.replace('.', '/')}/{name}.py"
        if path not in found:
            found[path] = (COLLECTION / "plugins" / "module_utils" / f"{name}.py").read_text(encoding="utf-8")
            due += _imported(found[path])
    return found


def _imported(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == DOMAIN:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{DOMAIN}."):
            yield str(node.module).rpartition(".")[2]


def package_files(package: Path, *, domain: list[str]) -> dict[str, str]:
    """The files of a package, and those of the domain that go along, by the path below it."""
    files = {
        str(path.relative_to(package)): path.read_text(encoding="utf-8")
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    return {**files, **domain_files(domain)}


class ActionModule(ActionBase):
    """Says which files the host should have, and ships them if it asks for them.

    Its module is packed for each task: it has to be able to mend those that are installed.
    """

    _supports_check_mode = True
    _supports_async = False
    TRANSFERS_FILES = False  # whether it does is decided below

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        arguments = dict(self._task.args)
        if boolean(arguments.get("modules", False)):
            name, files = MODULES, module_files()
        else:
            package, launcher = self._places(arguments)
            name, files = package.name, package_files(package, domain=list(arguments.get("domain") or []))
            arguments.update(launcher_text=launcher.read_text(encoding="utf-8"))
        arguments.update(version=version_of(name, files))
        try:
            answer = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
            if answer.get("needs_files"):
                arguments.update(upload=self._ship(files))
                answer = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        result.update(answer)
        return result

    def _places(self, arguments: dict[str, Any]) -> tuple[Path, Path]:
        package = Path(str(arguments.get("package", "")))
        launcher = package.parent / str(arguments.get("launcher", ""))
        if not package.is_dir() or not launcher.is_file():
            raise AnsibleActionFail(f"{package} and {launcher} are not both on the controller")
        return package, launcher

    def _ship(self, files: dict[str, str]) -> str:
        """Transfer to a temporary place; the module compares with the version that it was told."""
        directory = self._connection._shell.tmpdir or self._make_tmp_path()
        place: str = self._connection._shell.join_path(directory, "files.json")
        self._transfer_data(place, json.dumps(files))
        self._fixup_perms2((directory, place), execute=False)
        return place

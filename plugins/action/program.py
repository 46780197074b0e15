# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of ``program``: reads the files of the package; they are few and small, and go with the arguments."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

MODULE = "slipway.webapp.program"
COLLECTION = Path(__file__).resolve().parents[2]
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


class ActionModule(ActionBase):
    """Adds the files to the module's arguments."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        package = Path(str(arguments.get("package", "")))
        launcher = package.parent / str(arguments.get("launcher", ""))
        if not package.is_dir() or not launcher.is_file():
            raise AnsibleActionFail(f"{package} and {launcher} are not both on the controller")
        files = {
            str(path.relative_to(package)): path.read_text(encoding="utf-8")
            for path in sorted(package.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
        files.update(domain_files(list(arguments.get("domain") or [])))
        arguments.update(files=files, launcher_text=launcher.read_text(encoding="utf-8"))
        result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars))
        return result

# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of ``transaction``, and of each module that meta/runtime.yml sends here: it only runs the module."""

from __future__ import annotations

from typing import Any

from ansible_collections.slipway.webapp.plugins.plugin_utils.installed import InstalledModules


class ActionModule(InstalledModules):
    """What Ansible does with a module, but for how the module comes to the host."""

    _supports_check_mode = True
    _supports_async = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        later = bool(self._task.async_val)
        result.update(self._execute_module(task_vars=task_vars, wrap_async=later))
        if not later:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of ``rollback_plan``: needs no connection."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._rollback import choose


class ActionModule(ActionBase):
    """Choose the target of a rollback."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            argument_spec={
                "infos": {"type": "dict", "required": True},
                "primary": {"type": "str", "required": True},
                "release": {"type": "str", "default": ""},
                "accept_schema": {"type": "bool", "default": False},
                "restored": {"type": "str", "default": ""},
            }
        )
        try:
            target = choose(
                arguments["infos"],
                primary=arguments["primary"],
                release=arguments["release"],
                accept_schema=arguments["accept_schema"],
                restored=arguments["restored"],
            )
        except SlipwayError as error:
            return {**result, "failed": True, "msg": str(error)}
        return {
            **result,
            "changed": False,
            "release": target.pair.release,
            "config": target.pair.config,
            "slots": target.slots,
        }

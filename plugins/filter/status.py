# Copyright: the slipway.webapp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that turn what hosts said into documents and tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _deploy_plan, _status


class FilterModule:
    """Each filter is a function of ``_status`` or ``_deploy_plan``."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "backup_table": _status.backup_table,
            "deploy_plan": _deploy_plan.document,
            "deploy_plan_table": _deploy_plan.plan_table,
            "history": _status.history,
            "history_table": _status.history_table,
            "lease_table": _status.lease_table,
            "live_commit": _deploy_plan.live_commit,
            "status": _status.document,
            "status_table": _status.status_table,
        }

# Copyright: the slipway.webapp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters by which restart.yml knows which hosts it takes, and what became of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _restart


def restart_outcome(host: str, hostvars: Any, edges: list[str], primary: str, rotates: bool) -> dict[str, Any]:
    """As in ``_restart``."""
    seen = {name: hostvars[host].get(name) for name in _restart.READ}
    said = [hostvars[edge]["__restart_edge"] for edge in edges]
    return _restart.outcome(host, seen, edges=said, primary=primary, rotates=rotates)


class FilterModule:
    """Who takes part, and what came of it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"restart_outcome": restart_outcome, "restart_wish": _restart.wish}

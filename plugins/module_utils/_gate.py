# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate of a slot: its web process gives the right answer, and its worker and beat are ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._assignment import slot_secrets
from ansible_collections.slipway.webapp.plugins.module_utils._health import Watch, Wish, ask_until_healthy
from ansible_collections.slipway.webapp.plugins.module_utils._http import HttpAsker, target_of
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock, Systemd

# What a gate asks for, as an argument spec; the module health_check documents it.
OPTIONS: dict[str, dict[str, Any]] = {
    "path": {"type": "str"},
    "host": {"type": "str"},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "json": {"type": "dict", "default": {}},
    "successes": {"type": "int", "default": 3},
    "interval": {"type": "float", "default": 0.1},
    "deadline": {"type": "float", "default": 60},
    "timeout": {"type": "float", "default": 5},
}


def watch_of(layout: Layout, slot: str, processes: Sequence[str], *, systemd: Systemd, unit: str = "") -> Watch:
    """The processes of a slot; ``unit`` is the one whose log a failure shows, by default that of ``web``."""
    return Watch(
        systemd=systemd,
        unit=unit or layout.unit("web", slot),
        units=[layout.unit(one, slot) for one in processes if one != "web"],
        secrets=slot_secrets(layout, slot),
    )


def pass_gate(
    watch: Watch, wish: Wish, *, socket: str, path: str, host: str, clock: Clock, check_mode: bool
) -> dict[str, Any]:
    """Wait until the slot is healthy; a module's result. Without a ``socket`` only units are waited for."""
    target = target_of(path=path, socket_path=socket, host=host) if socket else None
    return ask_until_healthy(
        wish,
        asker=HttpAsker(target=target) if target else None,
        clock=clock,
        watch=watch,
        where=str(target or ""),
        check_mode=check_mode,
    )

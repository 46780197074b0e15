# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run begins on a host, as modules are told it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, SLOTS
from ansible_collections.slipway.webapp.plugins.module_utils._ledger import PROVING
from ansible_collections.slipway.webapp.plugins.module_utils._transaction import Begun

# Without these nothing can begin.
WHO = ("run", "action", "release", "config", "slot", "by")


def options() -> dict[str, dict[str, Any]]:
    """The options that say it, as an argument spec; the module ``transaction`` documents them."""
    return {
        "run": {"type": "str"},
        "action": {"type": "str", "choices": list(PROVING)},
        "release": {"type": "str"},
        "config": {"type": "str"},
        "slot": {"type": "str", "choices": list(SLOTS)},
        "previous": {"type": "dict", "default": {}},
        "first": {"type": "bool", "default": False},
        "by": {"type": "str"},
        "processes": {"type": "list", "elements": "str", "choices": list(PROCESSES), "default": []},
        "hold": {"type": "int", "default": 120},
        "warm": {"type": "int", "default": 0},
        "lease": {"type": "int", "default": 0},
        "peers": {"type": "list", "elements": "str", "default": []},
        "domain": {"type": "str", "default": ""},
        "database": {"type": "dict", "default": {}},
    }


def needed() -> dict[str, dict[str, Any]]:
    """The same where something has to begin."""
    return {name: {**option, "required": name in WHO} for name, option in options().items()}


def begun_of(given: Mapping[str, Any]) -> Begun:
    """What begins, from such options."""
    names = (*WHO, "first", "hold", "warm", "lease", "domain", "database")
    pair = {name: given["previous"][name] for name in ("slot", "release", "config") if given["previous"].get(name)}
    return Begun(
        **{name: given[name] for name in names},
        processes=tuple(given["processes"]),
        peers=tuple(given["peers"]),
        previous=pair or None,
    )

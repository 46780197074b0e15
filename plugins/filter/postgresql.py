# Copyright: the slipway.webapp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters by which the role postgresql knows which cluster is the application's, and what to do in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _postgresql, _postgresql_network


def postgresql_plan(
    server: Mapping[str, Any], wish: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """As in ``_postgresql_network``; of a server that is another one, nothing else is said."""
    network = _postgresql_network.plan(server, wish, results)
    another = _postgresql.same(server, wish["cluster"])
    return {**network, "problems": another or [*_postgresql.taken(server, wish), *network["problems"]]}


class FilterModule:
    """Each is the function of its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "postgresql_cluster": _postgresql.cluster,
            "postgresql_plan": postgresql_plan,
            "postgresql_unheard": _postgresql_network.unheard,
        }

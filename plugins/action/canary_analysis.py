# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of ``canary_analysis``: needs no connection to a host."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.slipway.webapp.plugins.module_utils import _canary, _prometheus
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._http import HttpAsker, context_of, target_of


def asker_of(url: str) -> HttpAsker:
    target = target_of(url=url)
    return HttpAsker(target, headers={"User-Agent": "slipway-analysis"}, context=context_of(target))


def readings_of(url: str, queries: list[dict[str, Any]]) -> list[_canary.Reading]:
    """What Prometheus says. An address that cannot be asked is a gap like any other."""
    try:
        return _prometheus.ask(url, queries, asker_of=asker_of) if url else []
    except SlipwayError as error:
        return [_canary.Reading("Prometheus", gap=f"Prometheus: {error.summary}: {error.found}")]


class ActionModule(ActionBase):
    """Judge by what all hosts have seen."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            argument_spec={
                "infos": {"type": "dict", "required": True},
                "hosts": {"type": "list", "elements": "str", "required": True},
                "minimum": {"type": "int", "default": 100},
                "errors": {"type": "float", "default": 0.005},
                "latency": {"type": "float", "default": 1.5},
                "policy": {"type": "str", "choices": list(_canary.POLICIES), "default": "probe"},
                "final": {"type": "bool", "default": True},
                "whole": {"type": "bool", "default": False},
                "prometheus_url": {"type": "str", "default": ""},
                "prometheus_queries": {"type": "list", "elements": "dict", "default": []},
            }
        )
        fleet = _canary.gather(arguments["infos"], arguments["hosts"])
        judgement = _canary.judge(
            fleet,
            limits=_canary.Limits(**{name: arguments[name] for name in ("minimum", "errors", "latency")}),
            policy=arguments["policy"],
            final=arguments["final"],
            whole=arguments["whole"],
            readings=readings_of(arguments["prometheus_url"], arguments["prometheus_queries"]),
        )
        return {
            **result,
            "changed": False,
            "verdict": judgement.verdict,
            "decision": judgement.decision,
            "reasons": list(judgement.reasons),
            "msg": _canary.told(judgement),
            "numbers": _canary.numbers(fleet),
        }

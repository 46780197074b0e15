# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instant query to Prometheus, and whether its value is within bounds.

https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ansible_collections.slipway.webapp.plugins.module_utils._canary import Reading
from ansible_collections.slipway.webapp.plugins.module_utils._health import Answer, Asker

_TIMEOUT = 10.0


def _values(answer: Answer) -> tuple[list[float], str]:
    """The numbers of an answer, or why there are none."""
    if answer.error:
        return [], answer.error
    try:
        document = json.loads(answer.body)
        if document["status"] != "success":
            return [], f"{document.get('errorType', 'an error')}: {document.get('error', '')}"
        kind, result = document["data"]["resultType"], document["data"]["result"]
        if kind not in ("vector", "scalar"):
            return [], f"a result of type {kind}, not vector or scalar"
        pairs = [result] if kind == "scalar" else [entry["value"] for entry in result]
        numbers = [float(text) for _time, text in pairs]
    except (ValueError, KeyError, TypeError):
        return [], f"status {answer.status} and no answer of Prometheus"
    known = [number for number in numbers if not math.isnan(number)]
    return known, "" if known else "no data"


def read(query: Mapping[str, Any], answer: Answer) -> Reading:
    """What an answer means. Of several series each one must be within the bounds."""
    name = f"Prometheus, {query['name']}"
    values, why = _values(answer)
    if why:
        return Reading(name, gap=f"{name}: {why}")
    for bound, worst, wrong in (("max", max(values), "above"), ("min", min(values), "below")):
        limit = query.get(bound)
        if limit is not None and (worst > float(limit) if bound == "max" else worst < float(limit)):
            return Reading(name, failure=f"{name}: {worst:g} is {wrong} {float(limit):g}")
    return Reading(name, said=f"{name}: {', '.join(f'{value:g}' for value in values[:5])}")


def ask(url: str, queries: Sequence[Mapping[str, Any]], *, asker_of: Callable[[str], Asker]) -> list[Reading]:
    """The readings of all queries. ``asker_of`` makes what asks a URL."""
    base = url.rstrip("/")
    return [
        read(query, asker_of(f"{base}/api/v1/query?query={quote(str(query['query']), safe='')}").ask(timeout=_TIMEOUT))
        for query in queries
    ]

# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the other hosts of the environment how far they are in a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._http import HttpAsker, target_of

_PATIENCE = 2.0  # seconds for an answer
_AT_ONCE = 16
NOTHING: Mapping[str, Any] = {}

Answers = Mapping[str, "Mapping[str, Any] | None"]


def ask_all(peers: Sequence[str], *, domain: str) -> dict[str, Mapping[str, Any] | None]:
    """What each address says: its document, an empty one when it knows of no run, None when nobody answers there."""
    if not peers:
        return {}
    with ThreadPoolExecutor(min(_AT_ONCE, len(peers))) as pool:
        return dict(zip(peers, pool.map(lambda peer: _ask(peer, domain), peers)))


def _ask(peer: str, domain: str) -> Mapping[str, Any] | None:
    try:
        answer = HttpAsker(target=target_of(url=peer, host=domain)).ask(timeout=_PATIENCE)
    except SlipwayError:
        return None
    if answer.status == 404:
        return NOTHING
    if answer.error or answer.status != 200:
        return None
    try:
        document = json.loads(answer.body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None

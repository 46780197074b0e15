# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a slot is assigned to, and what must not be shown of it. Readers need no more of a slot than this."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._config import parse_env, secret_values
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_link, read_text
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._mask import mask


@dataclass(frozen=True)
class Assignment:
    """What a slot runs: always a pair."""

    release: str
    config: str

    def __str__(self) -> str:
        return f"release {self.release} with configuration {self.config}"


def assignment(layout: Layout, slot: str) -> tuple[Assignment | None, dict[str, str]]:
    """What the slot is assigned to, and its environment. A slot that is being reassigned is assigned to nothing."""
    path = layout.slot_env(slot)
    text = read_text(path)
    link = os.path.basename(read_link(layout.slot_link(slot)) or "")
    if text is None or not link:
        return None, {}
    values = parse_env(text, where=path)
    pair = Assignment(values.get("SLIPWAY_RELEASE", ""), values.get("SLIPWAY_CONFIG", ""))
    return (pair if pair.release == link and pair.config else None), values


def slot_secrets(layout: Layout, slot: str) -> list[str]:
    """The secret values that the slot's processes know and may have printed."""
    path = layout.slot_env(slot)
    return secret_values(read_text(path) or "", where=path)


def _masked(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        return mask(value, secrets)
    if isinstance(value, list):
        return [_masked(one, secrets) for one in value]
    if isinstance(value, dict):
        return {name: _masked(one, secrets) for name, one in value.items()}
    return value


def without_secrets(error: SlipwayError, secrets: Sequence[str]) -> SlipwayError:
    """The same error with every secret value masked, in its text and in what it carries."""
    return SlipwayError(
        mask(error.summary, secrets),
        found=mask(error.found, secrets),
        expected=error.expected,
        next_step=error.next_step,
        details=_masked(error.details, secrets),
    )

# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every plan is made of, and the one way in which a plan is carried out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Callable


@dataclass(frozen=True)
class Step:
    """One thing to do: ``name`` says which, ``summary`` says it to people, ``data`` is what the doer needs."""

    name: str
    summary: str
    data: dict[str, Any] = field(default_factory=dict)


def carry_out(steps: Iterable[Step], do: Callable[[Step], None], *, check_mode: bool = False) -> list[str]:
    """Do every step in order, or only name them in check mode; the summaries of what was (or would be) done."""
    done: list[str] = []
    for step in steps:
        if not check_mode:
            do(step)
        done.append(step.summary)
    return done

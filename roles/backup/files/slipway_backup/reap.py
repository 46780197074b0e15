# SPDX-License-Identifier: GPL-3.0-or-later
"""``reap``: remove what killed runs left behind. Every ``take`` does so too; a boot does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import scratch, workspace
from .request import Reap, parse


def run(given: dict[str, Any]) -> dict[str, Any]:
    """The names of what was removed. What a living run uses stays."""
    request = parse(Reap, given, "reap")
    with workspace.alone(Path(request.directory)):
        unfinished = workspace.remove_unfinished(Path(request.directory))
    return {"scratch": scratch.reap(Path(request.scratch_directory)), "unfinished": unfinished}

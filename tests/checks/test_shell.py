# SPDX-License-Identifier: GPL-3.0-or-later
"""Shell scripts."""

from __future__ import annotations

import re
from pathlib import Path

from tests.checks import tools

SHELL = re.compile(r"#!\s*(?:/usr)?/bin/(?:env\s+)?(?:ba|da)?sh\b")


def scripts() -> list[Path]:
    found = []
    for path in tools.source_files():
        with (tools.ROOT / path).open("rb") as file:
            first = file.readline(80).decode(errors="replace")
        if path.suffix == ".sh" or SHELL.match(first):
            found.append(path)
    return found


def test_shellcheck() -> None:
    files = scripts()
    assert Path("tests/run") in files
    tools.run("shellcheck", "--external-sources", "--severity=style", *files)

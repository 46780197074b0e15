# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes front ends as builds write them: an application in one page, whose parts have hashed names.

``python tests/app/frontend.py make 2 DEST`` or ``make(edition=2, destination=...)``. An edition differs from another
one in every file whose name has a hash, and in its page. The same arguments always give the same bytes.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="edition" content="{edition}">
  <title>Board</title>
  <link rel="icon" href="/favicon.svg">
  <link rel="stylesheet" href="/{style}">
  <script type="module" src="/{script}"></script>
</head>
<body><div id="root"></div></body>
</html>
"""
ICON = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="3"/></svg>\n'


def hashed(place: str, ending: str, content: str) -> str:
    """A name as Vite makes it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"assets/{place}-{digest[:8]}{ending}"


def files(edition: int) -> dict[str, str]:
    """Every file of an edition, by its name."""
    lazy = f'export const edition = "{edition}"; // asked for when somebody opens it\n'
    style = f"#root {{ order: {edition}; }}\n"
    lazy_name, style_name = hashed("settings", ".js", lazy), hashed("index", ".css", style)
    script = f'const edition = "{edition}"; globalThis.open = () => import("/{lazy_name}");\n'
    script_name = hashed("index", ".js", script)
    return {
        "index.html": PAGE.format(edition=edition, style=style_name, script=script_name),
        "about.html": f"<!doctype html><title>About</title><p>Edition {edition}.</p></html>\n",
        "robots.txt": f"# edition {edition}\n",
        "favicon.svg": ICON,
        # As Create React App names them: below the very path that Django's files have.
        f"static/js/main.{hashlib.sha256(script.encode()).hexdigest()[:8]}.js": script,
        lazy_name: lazy,
        style_name: style,
        script_name: script,
        # For tests: which of all these are named by their content.
        "parts.json": json.dumps({"lazy": lazy_name, "style": style_name, "script": script_name}) + "\n",
    }


def make(*, edition: int, destination: Path) -> Path:
    """Write an edition into a new directory."""
    for name, content in files(edition).items():
        place = destination / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    return destination


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=["make"])
    parser.add_argument("edition", type=int)
    parser.add_argument("destination", type=Path)
    given = parser.parse_args(arguments)
    make(edition=given.edition, destination=given.destination)
    return 0


if __name__ == "__main__":
    sys.exit(main())

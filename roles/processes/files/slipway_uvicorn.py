# SPDX-License-Identifier: GPL-3.0-or-later
"""Uvicorn, with one question more: can the application be imported at all?

Uvicorn's supervisor starts children that cannot import their application over and over, and never fails. So the
application is imported here first: a broken one ends the start at once, with its traceback as the last log lines.
"""

from __future__ import annotations

import sys

import slipway_entry
import slipway_notify


def arguments(given: list[str]) -> list[str]:
    """The command line of Uvicorn. Who may connect is decided by the rights of the socket's directory."""
    return [
        "uvicorn",
        "slipway_entry:asgi",
        *(
            "--lifespan",
            "auto",
            "--proxy-headers",
            "--forwarded-allow-ips",
            "*",
            "--no-access-log",
            "--no-server-header",
        ),
        *given,
    ]


def main() -> None:
    _application = slipway_entry.asgi
    sys.argv = arguments(sys.argv[1:])
    slipway_notify.ready("imported; Uvicorn listens in a moment")
    from uvicorn.main import main as serve

    serve()


# Uvicorn's children import this module again, under another name.
if __name__ == "__main__":
    main()

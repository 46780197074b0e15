# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry for Uvicorn: board.asgi:application. The same site, and a WebSocket besides."""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")
django_application = get_asgi_application()

from board.echo import echo  # noqa: E402  (needs the settings, which are ready only now)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Django answers HTTP; WebSockets are answered here, Django does not know them."""
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
    elif scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        await django_application(scope, receive, send)


async def lifespan(receive: Any, send: Any) -> None:
    """Tell the server that nothing has to be prepared or put away."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return

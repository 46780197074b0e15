# SPDX-License-Identifier: GPL-3.0-or-later
"""A WebSocket at /ws/echo that sends back each text, with the release and slot that answered."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host

PATH = "/ws/echo"
LIMIT_CHARACTERS = 4096
CLOSE_TOO_BIG = 1009
CLOSE_NOT_FOUND = 4404
CLOSE_FORBIDDEN = 4403


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve one connection until either side closes it."""
    await receive()  # websocket.connect, by the protocol always the first message
    if scope["path"] != PATH:
        await send({"type": "websocket.close", "code": CLOSE_NOT_FOUND})
        return
    if not same_site(headers=scope["headers"]):
        await send({"type": "websocket.close", "code": CLOSE_FORBIDDEN})
        return
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text") or ""
        if len(text) > LIMIT_CHARACTERS:
            await send({"type": "websocket.close", "code": CLOSE_TOO_BIG})
            return
        answer = {"echo": text, "release": settings.RELEASE, "slot": settings.SLOT}
        await send({"type": "websocket.send", "text": json.dumps(answer)})


def same_site(*, headers: list[tuple[bytes, bytes]]) -> bool:
    """Browsers let any page open a WebSocket to us, with our cookies: only our own pages may.

    Programs that are no browsers send no Origin and are let in.
    """
    origin = dict(headers).get(b"origin")
    if origin is None:
        return True
    host = urlsplit(origin.decode("latin-1")).hostname or ""
    return validate_host(host, settings.ALLOWED_HOSTS)

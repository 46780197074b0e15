# SPDX-License-Identifier: GPL-3.0-or-later
"""The application that the web server serves: the one that SLIPWAY_APPLICATION names, saying which release answers.

Every answer, and every accepted WebSocket, carries X-Slipway-Release and X-Slipway-Slot, so any application can be
asked which release it is without knowing anything of this collection.
"""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

RELEASE_HEADER = "X-Slipway-Release"
SLOT_HEADER = "X-Slipway-Slot"

Message = MutableMapping[str, Any]


def own_headers() -> list[tuple[str, str]]:
    """The headers of this process."""
    return [
        (RELEASE_HEADER, os.environ.get("SLIPWAY_RELEASE", "")),
        (SLOT_HEADER, os.environ.get("SLIPWAY_SLOT", "")),
    ]


def load(name: str) -> Any:
    """The object that ``package.module:attribute`` names."""
    module, _colon, attribute = name.partition(":")
    if not module or not attribute:
        raise RuntimeError(f"SLIPWAY_APPLICATION is {name!r}; expected package.module:attribute")
    found = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


class Wsgi:
    """A WSGI application that adds our headers to every answer (PEP 3333)."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application = application
        self.headers = own_headers()
        self.names = {name.lower() for name, _value in self.headers}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            kept = [pair for pair in headers if pair[0].lower() not in self.names]
            return start_response(status, kept + self.headers, *error)

        # The iterable goes through untouched: the server may know a faster way for its kind, and must close it.
        return self.application(environ, start)


class Asgi:
    """An ASGI application that adds our headers to every answer and every accepted WebSocket."""

    _CARRIERS = ("http.response.start", "websocket.accept", "websocket.http.response.start")

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        self.application = application
        self.headers = [(name.lower().encode(), value.encode()) for name, value in own_headers()]
        self.names = {name for name, _value in self.headers}

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in self._CARRIERS:
                kept = [pair for pair in message.get("headers") or [] if bytes(pair[0]).lower() not in self.names]
                message = {**message, "headers": [*kept, *self.headers]}
            await send(message)

        # Lifespan messages carry no headers and pass through as they are.
        await self.application(scope, receive, send_with_headers)


def __getattr__(name: str) -> Any:
    """``wsgi`` or ``asgi``, made when the server first asks; a broken application breaks the start, as it should."""
    kinds: dict[str, Callable[[Any], Any]] = {"wsgi": Wsgi, "asgi": Asgi}
    if name not in kinds:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        wrapped = kinds[name](load(os.environ.get("SLIPWAY_APPLICATION", "")))
    except Exception:
        # Gunicorn would show the last line only.
        traceback.print_exc()
        raise
    globals()[name] = wrapped
    return wrapped

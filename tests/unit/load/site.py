# SPDX-License-Identifier: GPL-3.0-or-later
"""A tiny site that misbehaves to order and keeps its own count of what it did."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

from aiohttp import WSCloseCode, web

PAGE = """<!doctype html>
<html>
<head>
<meta name="slipway-release" content="{release}">
<meta name="slipway-slot" content="{slot}">
<link rel="stylesheet" href="/static/{release}.css">
<link rel="canonical" href="/never">
<script src="/static/site.js"></script>
<script src="https://elsewhere.example/x.js"></script>
</head>
<body><form><input type="hidden" name="csrfmiddlewaretoken" value="the-token"></form></body>
</html>
"""

# Given the kind of request and its number (from 1), what to do about it.
Plan = Callable[[str, int], str]


def well(_kind: str, _number: int) -> str:
    """Nothing but good answers."""
    return "well"


class Site:
    """Runs in a thread of its own; `did` counts (kind, deed) pairs, the truth that reports are compared with."""

    def __init__(self, *, plan: Plan = well) -> None:
        self.plan = plan
        self.release, self.slot = "one", "blue"
        self.hits: Counter[str] = Counter()
        self.did: Counter[tuple[str, str]] = Counter()
        self.agents: Counter[str] = Counter()
        self.connections: dict[str, set[int]] = {}
        self.tokens: list[str] = []
        self.listing_status = 200
        self.url = ""
        self._alive: list[asyncio.Transport] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> Site:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._serve())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _serve(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/", self._handler("page", self._page))
        app.router.add_get("/static/{name}", self._handler("asset", self._asset))
        app.router.add_post("/notes", self._handler("note", self._note))
        app.router.add_get("/notes", self._list)
        app.router.add_get("/slow", self._handler("slow", self._slow))
        app.router.add_get("/ws/echo", self._echo)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
        return runner

    def _handler(self, kind: str, good: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.hits[kind] += 1
            agent = request.headers["User-Agent"]
            self.agents[agent] += 1
            if request.transport is not None:
                # Kept, so that no identity is given to a second connection.
                self._alive.append(request.transport)
                self.connections.setdefault(agent, set()).add(id(request.transport))
            deed = self.plan(kind, self.hits[kind])
            self.did[kind, deed] += 1
            return await self._do(deed, request, good)

        return handle

    async def _do(self, deed: str, request: web.Request, good: Callable[[web.Request], Any]) -> web.StreamResponse:
        if deed == "reset" and request.transport is not None:
            request.transport.close()
        if deed == "abort" and request.transport is not None:
            request.transport.abort()
        if deed == "hang":
            await asyncio.sleep(5)
        if deed == "cut":
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"only this")
            assert request.transport is not None
            request.transport.close()
            return response
        if deed.isdigit():
            return web.Response(status=int(deed), text="as ordered")
        if deed == "lie":
            return web.json_response({"token": "another", "slept": -1}, status=201 if request.method == "POST" else 200)
        answer: web.StreamResponse = await good(request)
        return answer

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=PAGE.format(release=self.release, slot=self.slot), content_type="text/html")

    async def _asset(self, request: web.Request) -> web.Response:
        return web.Response(text=f"/* {request.match_info['name']} */")

    async def _note(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form["csrfmiddlewaretoken"] != "the-token":
            return web.Response(status=403)
        token = str(form["token"])
        self.tokens.append(token)
        answer = {"token": token, "release": self.release, "slot": self.slot}
        if isinstance(form.get("attachment"), web.FileField):
            answer["sha256"] = hashlib.sha256(form["attachment"].file.read()).hexdigest()  # type: ignore[union-attr]
        return web.json_response(answer, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        prefix = request.query["token"]
        found = [{"token": token} for token in self.tokens if token.startswith(prefix)]
        return web.json_response({"notes": found}, status=self.listing_status)

    async def _slow(self, request: web.Request) -> web.Response:
        seconds = float(request.query["seconds"])
        await asyncio.sleep(seconds)
        return web.json_response({"slept": seconds, "release": self.release, "slot": self.slot})

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        async for message in connection:
            self.hits["echo"] += 1
            deed = self.plan("echo", self.hits["echo"])
            self.did["echo", deed] += 1
            if deed == "close-instead":
                await connection.close(code=WSCloseCode.SERVICE_RESTART)
                break
            text = "something else" if deed == "lie" else message.data
            await connection.send_str(json.dumps({"echo": text, "release": self.release, "slot": self.slot}))
            if deed == "close-after":
                await connection.close(code=WSCloseCode.SERVICE_RESTART)
                break
        return connection

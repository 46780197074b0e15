# SPDX-License-Identifier: GPL-3.0-or-later
"""One visitor who keeps a WebSocket open and sends texts that must come back."""

from __future__ import annotations

import asyncio
import json

import aiohttp

from tests.load.tally import Reply, RequestError
from tests.load.web_client import Shared

SECONDS_BETWEEN_ECHOES = 0.5
CLOSING = frozenset({aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED})


def code_of(message: aiohttp.WSMessage, connection: aiohttp.ClientWebSocketResponse) -> str:
    """Why the server has closed it. The connection's own code is 1006 when our answer to the farewell finds nobody."""
    return str(message.data if message.type is aiohttp.WSMsgType.CLOSE else connection.close_code)


class SocketClient:
    """Opening the connection is a request, and so is each text.

    A connection that the server closes between two texts costs nobody anything: it is counted by its code and opened
    anew. One that is closed while an answer is due is a failure.
    """

    def __init__(self, *, number: int, session: aiohttp.ClientSession, shared: Shared) -> None:
        self.name = f"socket-{number:03d}"
        self._session = session
        self._shared = shared
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._sent = 0

    async def run(self) -> None:
        """Connections, one after the other, until the run ends."""
        pace, tally = self._shared.pace, self._shared.tally
        while await pace.turn():
            if not await tally.attempt(self._open, kind="socket-open", client=self.name) or self._socket is None:
                continue
            try:
                await self._talk(self._socket)
            finally:
                await self._socket.close()

    async def _open(self) -> Reply:
        address = self._shared.base + self._shared.options.socket_path
        self._socket = None
        async with asyncio.timeout(self._shared.options.timeout):
            self._socket = await self._session.ws_connect(address, origin=self._shared.base)
        return Reply()

    async def _talk(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        pace, tally = self._shared.pace, self._shared.tally
        for _number in range(self._shared.options.socket_echoes):
            incoming = asyncio.ensure_future(connection.receive())
            try:
                await pace.pause(SECONDS_BETWEEN_ECHOES)
                if incoming.done():
                    tally.closed_sockets[code_of(incoming.result(), connection)] += 1
                    return
                if not await pace.turn():
                    return
                if incoming.done():
                    tally.closed_sockets[code_of(incoming.result(), connection)] += 1
                    return

                async def echo(incoming: asyncio.Future[aiohttp.WSMessage] = incoming) -> Reply:
                    return await self._echo(connection, incoming)

                if not await tally.attempt(echo, kind="socket-echo", client=self.name):
                    return
            finally:
                incoming.cancel()

    async def _echo(
        self, connection: aiohttp.ClientWebSocketResponse, incoming: asyncio.Future[aiohttp.WSMessage]
    ) -> Reply:
        self._sent += 1
        text = f"{self._shared.run}/{self.name}/{self._sent}"
        await connection.send_str(text)
        async with asyncio.timeout(self._shared.options.timeout):
            message = await incoming
        if message.type in CLOSING or message.type is aiohttp.WSMsgType.ERROR:
            raise RequestError("socket-closed", f"code {code_of(message, connection)} instead of an echo")
        try:
            answer = json.loads(message.data)
            release, slot, echoed = str(answer["release"]), str(answer["slot"]), answer["echo"]
        except (ValueError, TypeError, KeyError) as error:
            raise RequestError("wrong-body", f"no echo: {message.data!r}") from error
        if echoed != text:
            raise RequestError("wrong-body", f"echo {echoed!r}, sent {text!r}")
        # An open connection stays with the side that took it: it does not tell who is live.
        return Reply(release=release, slot=slot, dated=False)

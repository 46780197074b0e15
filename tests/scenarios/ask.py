# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a test host as a visitor does, by its public name without DNS, and print the answers as JSON.

python -m tests.scenarios.ask --address 10.1.2.3 --name board.example / /health
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from collections.abc import Sequence
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

TIMEOUT_SECONDS = 20


class _Resolver(AbstractResolver):
    """Every name is at the one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        return [
            ResolveResult(
                hostname=host,
                host=self._address,
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def ask(
    *,
    address: str,
    name: str,
    paths: Sequence[str],
    scheme: str,
    text: str | None,
    stay: float = 0.0,
    header: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """One request for each path, redirects not followed; with ``text`` a WebSocket that is sent it for each, and with
    ``stay`` kept until the server closes it, for so many seconds at most, and then opened anew.
    """
    # The certificate is looked at by openssl: here it is a private one.
    connector = aiohttp.TCPConnector(resolver=_Resolver(address), ssl=False)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    site = f"{scheme}://{name}"
    headers = dict(each.split("=", 1) for each in header)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        if text is None:
            return [await _page(session, site + path) for path in paths]
        return [await _echo(session, site + path, origin=site, text=text, stay=stay) for path in paths]


async def _page(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url, allow_redirects=False) as response:
        headers = {key.lower(): value for key, value in response.headers.items()}
        return {
            "status": response.status,
            "headers": headers,
            "body": (await response.read()).decode("utf-8", "replace"),
        }


async def _echo(session: aiohttp.ClientSession, url: str, *, origin: str, text: str, stay: float) -> dict[str, Any]:
    async with session.ws_connect(url, origin=origin) as connection:
        await connection.send_str(text)
        answer = {"status": 101, "headers": {}, "body": await connection.receive_str(timeout=TIMEOUT_SECONDS)}
        if not stay:
            return answer
        print("connected", file=sys.stderr, flush=True)
        said = await connection.receive(timeout=stay)
        # The connection's own code is 1006 when our answer to the farewell finds nobody there any more.
        answer["closed"] = said.data if said.type == aiohttp.WSMsgType.CLOSE else connection.close_code
    answer["again"] = (await _echo(session, url, origin=origin, text=text, stay=0.0))["body"]
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """0: there was an answer of any kind to each. 1: there was none."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.ask", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="+", metavar="path")
    parser.add_argument("--address", required=True, help="of the host")
    parser.add_argument("--name", required=True, help="of the site")
    parser.add_argument("--scheme", default="https", choices=("https", "http"))
    parser.add_argument("--header", action="append", default=[], metavar="NAME=VALUE", help="to be sent with each")
    parser.add_argument("--text", help="open a WebSocket and send this")
    parser.add_argument("--stay", type=float, default=0.0, metavar="SECONDS", help="until it is closed, then again")
    try:
        print(json.dumps(asyncio.run(ask(**vars(parser.parse_args(arguments))))))
    except (aiohttp.ClientError, OSError, TypeError) as error:
        print(f"no answer: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: python -m tests.load --url https://10.1.2.3 --host-header demo.example --insecure --seconds 30."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.load.generator import Engine
from tests.load.options import Mix, Options, OptionsError
from tests.load.report import Report


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.load", description="Sends load to a test host, counts and reports. Never retries."
    )
    add = parser.add_argument
    add("--url", required=True, help="http(s)://ADDRESS[:PORT] of a loopback or private address")
    add("--host-header", default="", help="the name to ask for, also in TLS; by default the one in the URL")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--ca", type=Path, help="certificate authority to trust, PEM")
    trust.add_argument("--insecure", action="store_true", help="accept any certificate")
    add("--seconds", type=float, help="end after so long")
    add("--until-file", type=Path, help="end when this file exists")
    add("--ready-file", type=Path, help="written when answers flow")
    add("--clients", type=int, default=40, help="visitors at a time (default %(default)s)")
    add("--websockets", type=int, default=0, help="further visitors with a WebSocket (default %(default)s)")
    add("--rate", type=float, default=50.0, help="requests a second, all visitors together (default %(default)s)")
    add("--timeout", type=float, default=30.0, help="seconds until a request has failed (default %(default)s)")
    add("--max-seconds", type=float, default=900.0, help="upper bound in any case (default %(default)s)")
    add("--max-requests", type=int, default=100_000, help="upper bound in any case (default %(default)s)")
    add("--mix", type=mix, default=Mix(), help="shares, such as page=40,asset=40,slow=20; what is not named has none")
    add("--verify-posts", action="store_true", help="afterwards read back whether each note is there once")
    add("--report", type=Path, help="write all counts to this file, JSON")
    return parser.parse_args(arguments)


def mix(text: str) -> Mix:
    """Shares by name."""
    shares = dict.fromkeys(Mix().weights(), 0)
    for part in text.split(","):
        name, _equals, share = part.partition("=")
        if name not in shares or not share.isdigit():
            raise argparse.ArgumentTypeError(f"{part!r}, expected {', '.join(shares)} with a number each")
        shares[name] = int(share)
    return Mix(**shares)


async def run(options: Options) -> Report:
    """Run in the foreground; an interrupt ends the load and keeps the counts."""
    engine = Engine(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, engine.stop, "signal")
    return await engine.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all was answered well. 1: something failed, or nothing was sent. 2: the options cannot be meant."""
    given = vars(parse(arguments))
    destination: Path | None = given.pop("report")
    try:
        options = Options(host=given.pop("host_header"), **given)
        options.target()
    except OptionsError as error:
        print(f"load: {error}", file=sys.stderr)
        return 2
    report = asyncio.run(run(options))
    if destination is not None:
        report.write(destination)
    print(*report.lines(), sep="\n", flush=True)
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())

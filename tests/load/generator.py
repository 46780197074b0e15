# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the clients: in this thread by `run`, or beside a test by `with LoadGenerator(...)`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import socket
import threading
import time
import uuid
from collections import Counter
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.load.options import Options, Target
from tests.load.pace import POLL_SECONDS, Pace
from tests.load.report import Posts, Report, summarize
from tests.load.socket_client import SocketClient
from tests.load.tally import Tally
from tests.load.web_client import Shared, WebClient

KEEP_ALIVE_SECONDS = 30


class LoadError(Exception):
    """The load did not do what the test asked of it."""


class _Resolver(AbstractResolver):
    """Every name is the target: nothing can be sent anywhere else."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del port, family  # the target has one port, and addresses of its own family
        if host != self._target.name:
            raise OSError(f"{host} is not the target {self._target.name}")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=self._target.port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._target.addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


class Engine:
    """One run."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.target = options.target()
        self.tally = Tally()
        self._tls = options.tls() if self.target.scheme == "https" else None
        self._pace: Pace | None = None

    async def run(self) -> Report:
        """Send until something ends the run, wait for what is in flight, close the books."""
        options = self.options
        began_at = datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="milliseconds")
        self.tally.began = self.tally.clock()
        self._pace = pace = Pace(rate=options.rate, most=options.max_requests)
        shared = Shared(options=options, base=self.target.base, run=uuid.uuid4().hex[:8], pace=pace, tally=self.tally)
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for number in range(options.clients):
                session = await stack.enter_async_context(self._session(f"client-{number:03d}", keep=number % 2 == 0))
                group.create_task(WebClient(number=number, session=session, shared=shared).run())
            for number in range(options.websockets):
                session = await stack.enter_async_context(self._session(f"socket-{number:03d}", keep=False))
                group.create_task(SocketClient(number=number, session=session, shared=shared).run())
            await self._watch(pace)
        seconds = self.tally.now()
        return summarize(
            self.tally,
            target=self.target.base,
            run=shared.run,
            began_at=began_at,
            seconds=seconds,
            stopped_by=pace.stopped_by,
            posts=await self._posts(shared),
        )

    def stop(self, by: str) -> None:
        """Send nothing more; to be called in the loop's own thread."""
        if self._pace is not None:
            self._pace.stop(by)

    async def _watch(self, pace: Pace) -> None:
        options = self.options
        seconds, reason = options.max_seconds, "max-seconds"
        if options.seconds is not None and options.seconds <= seconds:
            seconds, reason = options.seconds, "seconds"
        watcher = asyncio.ensure_future(pace.watch(seconds=seconds, reason=reason, file=options.until_file))
        while options.ready_file is not None and not pace.stopped:
            if self.tally.answered.total() >= options.clients:
                options.ready_file.touch()
                break
            await pace.pause(POLL_SECONDS)
        await watcher

    def _session(self, name: str, *, keep: bool) -> aiohttp.ClientSession:
        limits: dict[str, Any] = {"keepalive_timeout": KEEP_ALIVE_SECONDS} if keep else {"force_close": True}
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, ssl=self._tls or True, resolver=_Resolver(self.target), **limits),
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            headers={"User-Agent": f"slipway-load/1 ({name})"},
            timeout=aiohttp.ClientTimeout(total=self.options.timeout),
        )
        # aiohttp quietly repeats a request on a kept connection that the server has closed. We must see it fail.
        session._retry_connection = False
        return session

    async def _posts(self, shared: Shared) -> Posts:
        posts = Posts(answered=tuple(shared.stored), doubtful=tuple(shared.doubtful))
        if not self.options.verify_posts:
            return posts
        try:
            found = await self._stored_tokens(run=shared.run)
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            return dataclasses.replace(posts, unverified=f"{type(error).__name__}: {error}")
        return dataclasses.replace(
            posts,
            lost=tuple(token for token in posts.answered if not found[token]),
            doubled=tuple(token for token, count in found.items() if count > 1),
        )

    async def _stored_tokens(self, *, run: str) -> Counter[str]:
        found: Counter[str] = Counter()
        async with self._session("verifier", keep=True) as session:
            for number in range(self.options.clients):
                parameters = {"token": f"{run}-client-{number:03d}-"}
                address = self.target.base + self.options.notes_path
                async with session.get(address, params=parameters, raise_for_status=True) as response:
                    found.update(note["token"] for note in (await response.json())["notes"])
        return found


class LoadGenerator:
    """Load beside a test: it runs in a thread of its own from `with` to the end of the block.

    Takes the arguments of Options. After the block `report` holds the counts.
    """

    def __init__(self, **options: Any) -> None:
        self._engine = Engine(Options(**options))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._main, name="load", daemon=True)
        self._report: Report | None = None
        self._error: BaseException | None = None
        self._started = threading.Event()

    @property
    def report(self) -> Report:
        """The counts; there are none before the block has ended."""
        if self._report is None:
            raise LoadError("the load is still running: the report is there after the with block")
        return self._report

    def now(self) -> float:
        """The time on the clock of the report."""
        return self._engine.tally.now()

    def wait_for(self, *, answers: int, timeout: float = 60.0) -> None:
        """Wait for so many further good answers."""
        wanted = self._engine.tally.answered.total() + answers
        end = time.monotonic() + timeout
        while self._engine.tally.answered.total() < wanted:
            if time.monotonic() > end or not self._thread.is_alive():
                tally = self._engine.tally
                raise LoadError(
                    f"waited {timeout} s for {answers} answers: sent {tally.sent.total()}, "
                    f"answered {tally.answered.total()}, failures {dict(tally.failures)}"
                )
            time.sleep(0.02)

    def __enter__(self) -> LoadGenerator:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None:
            # RuntimeError: the loop has ended by itself, by one of its bounds.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._engine.stop, "caller")
        self._thread.join()
        if self._error is not None and error is None:
            raise LoadError(f"the load generator failed: {self._error!r}") from self._error

    def _main(self) -> None:
        try:
            self._report = asyncio.run(self._announce())
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            self._error = error
        finally:
            self._started.set()

    async def _announce(self) -> Report:
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._started.set)
        return await self._engine.run()

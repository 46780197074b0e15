# SPDX-License-Identifier: GPL-3.0-or-later
"""The books. Every request is entered once when it is sent and closed once, as answered or as failed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

from tests.load.timeline import Sighting

EXAMPLES = 20


class RequestError(Exception):
    """An answer that came and is not good."""

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A good answer. waited: seconds of it that were asked for, not suffered. dated: whether it tells who is live."""

    release: str = ""
    slot: str = ""
    waited: float = 0.0
    dated: bool = True


@dataclass(frozen=True, kw_only=True)
class Example:
    """A failed request that is shown."""

    kind: str
    failure: str
    detail: str
    client: str
    at: float


@dataclass(kw_only=True)
class Tally:
    """Counts by kind of request and by kind of failure."""

    clock: Callable[[], float] = time.monotonic
    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    sightings: list[Sighting] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    # When each failed request began and ended.
    failed_spans: list[tuple[float, float]] = field(default_factory=list)
    closed_sockets: Counter[str] = field(default_factory=Counter)
    began: float = 0.0

    def __post_init__(self) -> None:
        self.began = self.clock()

    def now(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self.began

    async def attempt(self, work: Callable[[], Awaitable[Reply]], *, kind: str, client: str) -> bool:
        """Carry one request out, once, and book it; true when it was answered well."""
        started = self.now()
        self.sent[kind] += 1
        try:
            reply = await work()
        except BaseException as error:
            failure = classify(error)
            self._book_failure(failure, kind=kind, client=client, at=started)
            if not isinstance(error, Exception):
                raise
            return False
        ended = self.now()
        self.answered[kind] += 1
        self.latencies.setdefault(kind, []).append(max(0.0, ended - started - reply.waited))
        if reply.dated and reply.release:
            self.sightings.append(Sighting(release=reply.release, slot=reply.slot, started=started, ended=ended))
        return True

    def _book_failure(self, failure: RequestError, *, kind: str, client: str, at: float) -> None:
        self.failed[kind] += 1
        self.failures[failure.name] += 1
        self.failed_spans.append((round(at, 3), round(self.now(), 3)))
        if len(self.examples) < EXAMPLES:
            self.examples.append(
                Example(kind=kind, failure=failure.name, detail=failure.detail[:500], client=client, at=round(at, 3))
            )


def classify(error: BaseException) -> RequestError:
    """The name under which an error is counted. The order matters: the narrow classes come first."""
    detail = f"{type(error).__name__}: {error}"
    names: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
        (asyncio.CancelledError, "cancelled"),
        (TimeoutError, "timeout"),
        (aiohttp.ClientSSLError, "tls"),
        (aiohttp.ClientConnectorError, "connect"),
        (aiohttp.WSServerHandshakeError, "handshake"),
        (aiohttp.ClientPayloadError, "cut-short"),
        ((aiohttp.ClientConnectionError, ConnectionError), "reset"),
        (aiohttp.ClientError, "protocol"),
    )
    if isinstance(error, RequestError):
        return error
    for classes, name in names:
        if isinstance(error, classes):
            return RequestError(name, detail)
    return RequestError("generator", detail)

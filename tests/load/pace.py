# SPDX-License-Identifier: GPL-3.0-or-later
"""When the next request may be sent, and when no further one may."""

from __future__ import annotations

import asyncio
from pathlib import Path

POLL_SECONDS = 0.1


class Pace:
    """A rate for all clients together. What was missed is not made up for: no bursts."""

    def __init__(self, *, rate: float, most: int) -> None:
        self._gap = 1.0 / rate
        self._left = most
        self._next = 0.0
        self._stopped = asyncio.Event()
        self.stopped_by = ""

    @property
    def stopped(self) -> bool:
        """No further request may be sent."""
        return self._stopped.is_set()

    def stop(self, by: str) -> None:
        """End the run; the first reason is kept."""
        self.stopped_by = self.stopped_by or by
        self._stopped.set()

    async def turn(self) -> bool:
        """Wait until one request may be sent; false when the run has ended."""
        loop = asyncio.get_running_loop()
        mine = max(self._next, loop.time())
        self._next = mine + self._gap
        await self.pause(mine - loop.time())
        if self.stopped:
            return False
        if self._left <= 0:
            self.stop("max-requests")
            return False
        self._left -= 1
        return True

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the run."""
        if seconds > 0 and not self.stopped:
            try:
                await asyncio.wait_for(self._stopped.wait(), seconds)
            except TimeoutError:
                return

    async def watch(self, *, seconds: float, reason: str, file: Path | None) -> None:
        """End the run after a time, or when a file appears."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self.stopped and loop.time() < end:
            if file is not None and file.exists():
                self.stop("file")
            await self.pause(min(POLL_SECONDS, end - loop.time()))
        self.stop(reason)

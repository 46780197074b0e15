# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nginx's JSON access log from a moment on, without reading what is older, and on through a rotation.

Lines are in the order of their times, to the second, so the first one that matters is found by bisection. What is
read is bounded, and so is the memory: a block at a time.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

MOST_BYTES = 64 * 1024 * 1024  # since the moment
MOST_BEFORE = 8 * 1024 * 1024  # before it: some ten thousand requests
_BLOCK = 256 * 1024
_LONGEST = 256 * 1024  # a line: an address has 8 kB at most, each byte of it six characters at most
_SLACK = 2  # seconds by which lines may be out of order


@dataclass(frozen=True)
class Entry:
    """One request. ``ended`` is when, in seconds since the epoch, cut to a whole second; times are in seconds.

    ``passed_on``: the application was asked. ``slot`` is what answered, '' when nothing did. ``waited`` is the time of
    the application alone, None where it is not known.
    """

    ended: int
    took: float
    waited: float | None
    status: int
    path: str
    bucket: str
    slot: str
    agent: str
    passed_on: bool


def _seconds(text: Any) -> float | None:
    """The sum of what Nginx says of one or several upstreams: ``0.012`` or ``0.001, 0.020``, and ``-`` for none."""
    parts = [part for part in str(text).replace(":", ",").split(",") if part.strip() not in ("", "-")]
    return sum(float(part) for part in parts) if parts else None


class Parser:
    """Lines to entries; the time of day is the same for many lines in a row, so the last one is remembered."""

    def __init__(self) -> None:
        self._text, self._time = "", 0

    def time_of(self, text: str) -> int:
        if text != self._text:
            self._text, self._time = text, int(datetime.datetime.fromisoformat(text).timestamp())
        return self._time

    def parse(self, line: bytes) -> Entry | None:
        """The entry, or None for a line that is none."""
        try:
            # Nginx passes on bytes that are no UTF-8 as they came.
            given = json.loads(line.decode("utf-8", "replace"))
            return Entry(
                ended=self.time_of(given["time"]),
                took=float(given["request_time"]),
                waited=_seconds(given["upstream_response_time"]),
                status=int(given["status"]),
                path=given["uri"],
                bucket=given["bucket"],
                slot=given["slot"],
                agent=given["user_agent"],
                passed_on=bool(given["upstream_addr"]),
            )
        except (ValueError, KeyError, TypeError):
            return None


def _time_after(stream: BinaryIO, parser: Parser, place: int) -> int | None:
    """The time of the first whole line behind ``place``."""
    stream.seek(place)
    if place:
        stream.readline(_LONGEST)
    for _attempt in range(20):
        line = stream.readline(_LONGEST)
        entry = parser.parse(line)
        if entry is not None:
            return entry.ended
        if not line:
            return None
    return None


def _begin_at(stream: BinaryIO, parser: Parser, moment: float) -> int:
    """A place at a line's begin, at most a block before the first line that is not older than ``moment``."""
    low, high = 0, os.fstat(stream.fileno()).st_size
    while high - low > _BLOCK:
        middle = (low + high) // 2
        time = _time_after(stream, parser, middle)
        low, high = (low, middle) if time is None or time >= moment else (middle, high)
    if low == 0:
        return 0
    stream.seek(low)
    stream.readline(_LONGEST)
    return stream.tell()


def unread(path: str, error: OSError) -> dict[str, str]:
    """Why the log at ``path`` cannot be read: ``state`` is missing or unreadable, ``said`` is for people."""
    state = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
    return {"state": state, "said": f"{path}: {error.strerror or error}"}


def state_of(path: str) -> dict[str, str]:
    """Whether the log at ``path`` can be read: the same, or ``state`` is ok."""
    try:
        with open(path, "rb") as stream:
            stream.read(1)
    except OSError as error:
        return unread(path, error)
    return {"state": "ok", "said": ""}


class Log:
    """The log at ``path``, with the file before the last rotation, from ``moment`` (seconds since the epoch) on.

    Of the ``before`` seconds before it only what is near enough is read. ``whole`` is False when lines since ``moment``
    are gone or were too many; ``gone`` is True while there is no file at ``path``. Errors of the system are raised.
    """

    def __init__(self, path: str, *, moment: float, before: float = 0.0) -> None:
        self._path = path
        self._moment = moment
        self._parser = Parser()
        self._left = 2 * MOST_BYTES
        self._streams: list[BinaryIO] = []
        self._rests: dict[BinaryIO, bytes] = {}
        self.whole = True
        self.gone = False
        current = self._open(path)
        if not self._reaches(current, moment - before):
            self._open_older()
        for stream in self._streams:
            self._seek(stream, before=before)

    def _open(self, path: str, *, first: bool = False) -> BinaryIO:
        stream = open(path, "rb", buffering=_BLOCK)  # noqa: SIM115 - closed by close()
        self._streams.insert(0 if first else len(self._streams), stream)
        self._rests[stream] = b""
        return stream

    def _reaches(self, stream: BinaryIO, moment: float) -> bool:
        """Does the file begin before that moment?"""
        first = _time_after(stream, self._parser, 0)
        return first is not None and first <= moment - _SLACK

    def _open_older(self) -> None:
        """The file that was rotated away last. Whether there was more to find says one before it."""
        with contextlib.suppress(FileNotFoundError):
            older = self._open(f"{self._path}.1", first=True)
            more = any(os.path.exists(f"{self._path}.2{ending}") for ending in ("", ".gz"))
            self.whole = not more or any(self._reaches(stream, self._moment) for stream in self._streams)
            older.seek(0)

    def _seek(self, stream: BinaryIO, *, before: float) -> None:
        place = _begin_at(stream, self._parser, self._moment - _SLACK)
        early = _begin_at(stream, self._parser, self._moment - before - _SLACK) if before else place
        latest = os.fstat(stream.fileno()).st_size - MOST_BYTES
        if latest > place:
            self.whole = False
        start = max(early, place - MOST_BEFORE, latest)
        # From the byte before it, so that a place at a line's begin loses no line.
        stream.seek(max(0, start - 1))
        if start:
            stream.readline(_LONGEST)

    def close(self) -> None:
        for stream in self._streams:
            stream.close()

    def entries(self) -> Iterator[Entry | None]:
        """What was written since the last call; None for a broken line. A line that is not ended yet waits."""
        for stream in self._streams:
            yield from self._rest_of(stream)
        try:
            found = os.stat(self._path).st_ino
        except FileNotFoundError:
            self.gone = True
            return
        self.gone = False
        if all(os.fstat(stream.fileno()).st_ino != found for stream in self._streams):
            # It was rotated. Nginx writes to the old file until it is told, so both are read on.
            yield from self._rest_of(self._open(self._path))

    def _rest_of(self, stream: BinaryIO) -> Iterator[Entry | None]:
        while self._left > 0:
            block = stream.read(min(_BLOCK, self._left))
            if not block:
                return
            self._left -= len(block)
            lines = (self._rests[stream] + block).split(b"\n")
            self._rests[stream] = lines.pop()[:_LONGEST]
            for line in lines:
                yield self._parser.parse(line)
        self.whole = False

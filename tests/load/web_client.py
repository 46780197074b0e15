# SPDX-License-Identifier: GPL-3.0-or-later
"""One visitor: loads pages and what they link, writes notes, uploads, asks for slow things. Never asks twice."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.load.options import Options
from tests.load.pace import Pace
from tests.load.page import read
from tests.load.tally import Reply, RequestError, Tally

ASSETS_REMEMBERED = 60
RELEASE_HEADER = "X-Slipway-Release"
SLOT_HEADER = "X-Slipway-Slot"


@dataclass(kw_only=True)
class Shared:
    """What the clients of one run share."""

    options: Options
    base: str
    run: str
    pace: Pace
    tally: Tally
    # The content first seen behind each address of an asset: hashed names never change their content.
    digests: dict[str, str] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)


class WebClient:
    """A visitor with a name, a cookie jar and, for every other one, a connection that is kept."""

    def __init__(self, *, number: int, session: aiohttp.ClientSession, shared: Shared) -> None:
        self.name = f"client-{number:03d}"
        self._session = session
        self._shared = shared
        self._random = random.Random(f"{shared.options.seed}/{number}")
        self._csrf_token = ""
        # In the order of loading: files of pages that were loaded before a switch are asked for after it.
        self._assets: dict[str, None] = {}
        self._notes = 0
        self._loaded = False

    async def run(self) -> None:
        """One request after the other, until the run ends."""
        works: Mapping[str, Callable[[], Awaitable[Reply]]] = {
            "page": self._page,
            "asset": self._asset,
            "note": self._note,
            "slow": self._slow,
            "upload": self._upload,
        }
        weights = self._shared.options.mix.weights()
        while await self._shared.pace.turn():
            kind = self._random.choices(list(weights), list(weights.values()))[0]
            if not self._loaded or (kind == "asset" and not self._assets):
                kind = "page"
            await self._shared.tally.attempt(works[kind], kind=kind, client=self.name)

    async def _page(self) -> Reply:
        address = self._shared.base + self._shared.options.page_path
        headers, body = await self._fetch("GET", address, expected=200)
        text = body.decode("utf-8", "replace")
        if not text.rstrip().endswith("</html>"):
            raise RequestError("wrong-body", f"the page ends with {text[-80:]!r}")
        page = read(text, address=address)
        self._csrf_token, self._loaded = page.csrf_token, True
        self._assets.update(dict.fromkeys(page.assets))
        for surplus in list(self._assets)[:-ASSETS_REMEMBERED]:
            del self._assets[surplus]
        return Reply(release=headers.get(RELEASE_HEADER) or page.release, slot=headers.get(SLOT_HEADER) or page.slot)

    async def _asset(self) -> Reply:
        address = self._random.choice(list(self._assets))
        _headers, body = await self._fetch("GET", address, expected=200)
        digest = hashlib.sha256(body).hexdigest()
        if not body or self._shared.digests.setdefault(address, digest) != digest:
            raise RequestError("wrong-body", f"{address} is empty or has changed: {len(body)} bytes")
        return Reply(dated=False)

    async def _slow(self) -> Reply:
        shortest, longest = self._shared.options.slow_seconds
        # Squared: most are short and some are long, as reports are.
        seconds = round(shortest + (longest - shortest) * self._random.random() ** 2, 2)
        address = f"{self._shared.base}{self._shared.options.slow_path}?seconds={seconds}"
        headers, body = await self._fetch("GET", address, expected=200)
        answer = _json(body)
        if answer.get("slept") != seconds:
            raise RequestError("wrong-body", f"slept {answer.get('slept')!r}, asked for {seconds}")
        return _signed(headers, answer, waited=seconds)

    async def _note(self) -> Reply:
        headers, answer = await self._post(aiohttp.FormData())
        return _signed(headers, answer)

    async def _upload(self) -> Reply:
        content = self._random.randbytes(self._random.randint(*self._shared.options.upload_bytes))
        form = aiohttp.FormData()
        form.add_field("attachment", content, filename=f"{self.name}.txt", content_type="text/plain")
        headers, answer = await self._post(form)
        if answer.get("sha256") != hashlib.sha256(content).hexdigest():
            raise RequestError("wrong-body", f"stored as sha256 {answer.get('sha256')!r}, not what was sent")
        return _signed(headers, answer)

    async def _post(self, form: aiohttp.FormData) -> tuple[Mapping[str, str], dict[str, Any]]:
        self._notes += 1
        token = f"{self._shared.run}-{self.name}-{self._notes}"
        text = f"note {self._notes} of {self.name}"
        for name, value in (("author", self.name), ("text", text), ("token", token)):
            form.add_field(name, value)
        if self._csrf_token:
            form.add_field("csrfmiddlewaretoken", self._csrf_token)
        sent = {"Accept": "application/json", "Referer": self._shared.base + self._shared.options.page_path}
        address = self._shared.base + self._shared.options.notes_path
        # Until a good answer is here nobody knows whether the note was stored.
        self._shared.doubtful.append(token)
        headers, body = await self._fetch("POST", address, expected=201, data=form, headers=sent)
        answer = _json(body)
        if answer.get("token") != token:
            raise RequestError("wrong-body", f"the note came back with token {answer.get('token')!r}, sent {token!r}")
        self._shared.doubtful.remove(token)
        self._shared.stored.append(token)
        return headers, answer

    async def _fetch(
        self, method: str, address: str, *, expected: int, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Mapping[str, str], bytes]:
        request = self._session.request(method, address, data=data, headers=headers, allow_redirects=False)
        async with request as response:
            body = await response.read()
        if response.status != expected:
            raise RequestError(f"status-{response.status}", f"{method} {address}: {body[:200]!r}")
        return response.headers, body


def _json(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise RequestError("wrong-body", f"no JSON: {body[:200]!r}") from error
    if not isinstance(answer, dict):
        raise RequestError("wrong-body", f"no JSON object: {body[:200]!r}")
    return answer


def _signed(headers: Mapping[str, str], answer: Mapping[str, Any], *, waited: float = 0.0) -> Reply:
    return Reply(
        release=headers.get(RELEASE_HEADER) or str(answer.get("release") or ""),
        slot=headers.get(SLOT_HEADER) or str(answer.get("slot") or ""),
        waited=waited,
    )

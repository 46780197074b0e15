# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page tells a client: the files it needs, the token for its form, the release that made it."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

ASSET_RELATIONS = frozenset({"stylesheet", "icon"})


@dataclass(frozen=True, kw_only=True)
class Page:
    """The parts of a page that matter."""

    assets: tuple[str, ...]
    csrf_token: str
    release: str
    slot: str


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.metas: dict[str, str] = {}
        self.inputs: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        relations = set(values.get("rel", "").split())
        if tag == "link" and relations & ASSET_RELATIONS:
            self.links.append(values.get("href", ""))
        elif tag in ("script", "img"):
            self.links.append(values.get("src", ""))
        elif tag == "meta":
            self.metas[values.get("name", "")] = values.get("content", "")
        elif tag == "input":
            self.inputs[values.get("name", "")] = values.get("value", "")


def read(text: str, *, address: str) -> Page:
    """Read a page; assets of other sites are left out, for load stays on its target."""
    reader = _Reader()
    reader.feed(text)
    site = urlsplit(address)[:2]
    assets = (urljoin(address, link) for link in reader.links if link)
    return Page(
        assets=tuple(dict.fromkeys(asset for asset in assets if urlsplit(asset)[:2] == site)),
        csrf_token=reader.inputs.get("csrfmiddlewaretoken", ""),
        release=reader.metas.get("slipway-release", ""),
        slot=reader.metas.get("slipway-slot", ""),
    )

# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go from a host. Pure: from what is there and what is needed to what nobody needs.

Needed is what a slot is assigned to, what an unfinished run names, and the newest proven pairs of release and
configuration that can still be gone back to. A release that failed or was never live is no way back and does not count.
What one that is needed is made of may not be known, as its record is damaged: then nothing of that kind goes at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pair:
    """What is deployed: a release with a configuration."""

    release: str
    config: str


@dataclass(frozen=True)
class Kept:
    """A release as far as retention is concerned. Without ``sha256`` its record cannot be read."""

    id: str
    complete: bool
    sha256: str = ""
    lock_hash: str = ""
    image: str = ""
    frontend: str = ""


@dataclass(frozen=True)
class Stock:
    """Everything on a host that retention decides about, by its name. ``proven`` has the newest pair first.

    ``pulled`` are images that the engine may have without any release that tells of them.
    """

    releases: tuple[Kept, ...] = ()
    partials: tuple[str, ...] = ()
    venvs: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()
    assigned: tuple[Pair, ...] = ()
    proven: tuple[Pair, ...] = ()
    pending: frozenset[str] = field(default_factory=frozenset)
    pulled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Surplus:
    """What may go, by kind. ``untold`` stays, and so does, because of it, whatever a release can be made of."""

    releases: tuple[str, ...] = ()
    partials: tuple[str, ...] = ()
    venvs: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()


def ways_back(stock: Stock, *, retain: int) -> tuple[Pair, ...]:
    """The newest ``retain`` proven pairs, each once, whose release is complete and whose configuration is there."""
    complete = {release.id for release in stock.releases if release.complete}
    usable = [pair for pair in stock.proven if pair.release in complete and pair.config in stock.configs]
    return tuple(dict.fromkeys(usable))[:retain]


def surplus(stock: Stock, *, retain: int) -> Surplus:
    """What nobody needs when the newest ``retain`` (at least one) ways back are kept."""
    pairs = {*stock.assigned, *ways_back(stock, retain=max(retain, 1))}
    needed = {pair.release for pair in pairs} | stock.pending
    configs = {pair.config for pair in pairs} | stock.pending
    staying = [release for release in stock.releases if release.id in needed]
    images = tuple(dict.fromkeys((*(one.image for one in stock.releases if one.image), *stock.pulled)))
    untold = tuple(release.id for release in staying if not release.sha256)
    artifacts = _others(stock.artifacts, (sha256 for one in staying for sha256 in (one.sha256, one.frontend)))
    return Surplus(
        releases=tuple(release.id for release in stock.releases if release.id not in needed),
        partials=stock.partials,
        venvs=() if untold else _others(stock.venvs, (release.lock_hash for release in staying)),
        artifacts=() if untold else artifacts,
        configs=_others(stock.configs, configs) if all(pair.config for pair in stock.assigned) else (),
        images=() if untold else _others(images, (release.image for release in staying)),
        untold=untold,
    )


def _others(names: Sequence[str], needed: Iterable[str]) -> tuple[str, ...]:
    keep = set(needed)
    return tuple(name for name in names if name not in keep)


def names_in(value: object) -> frozenset[str]:
    """Every text inside a JSON value: whatever an unfinished run names is kept."""
    if isinstance(value, str):
        return frozenset([value])
    inner: Iterable[object] = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, (list, tuple)):
        inner = value
    return frozenset(name for one in inner for name in names_in(one))

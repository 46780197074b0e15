# SPDX-License-Identifier: GPL-3.0-or-later
"""What retention lets go, and what it never does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.slipway.webapp.plugins.module_utils._retention import (
    Kept,
    Pair,
    Stock,
    Surplus,
    names_in,
    surplus,
    ways_back,
)


def release(number: int, *, complete: bool = True, lock: str = "") -> Kept:
    return Kept(id=f"r{number}", complete=complete, sha256=f"s{number}", lock_hash=lock or f"v{number}")


def pairs(*texts: str) -> tuple[Pair, ...]:
    return tuple(Pair(*text.split("/")) for text in texts)


FIVE = tuple(release(number) for number in (5, 4, 3, 2, 1))
VENVS, ARTIFACTS = tuple(f"v{n}" for n in range(1, 6)), tuple(f"s{n}" for n in range(1, 6))


@pytest.mark.parametrize(
    ("stock", "retain", "going"),
    [
        (Stock(), 5, Surplus()),
        (
            Stock(releases=FIVE, configs=("c1",), proven=pairs("r5/c1", "r4/c1", "r3/c1", "r2/c1", "r1/c1")),
            3,
            ("r2", "r1"),
        ),
        # failed releases do not count, and go
        (Stock(releases=FIVE, configs=("c1",), proven=pairs("r3/c1", "r2/c1", "r1/c1")), 2, ("r5", "r4", "r1")),
        # what a slot is assigned to stays, proven or not, complete or not
        (
            Stock(
                releases=(release(5, complete=False), *FIVE[1:]),
                configs=("c1",),
                assigned=pairs("r5/c1", "r1/c1"),
                proven=pairs("r4/c1"),
            ),
            1,
            ("r3", "r2"),
        ),
        # one pair is one way back, however often it was proven; another configuration is another
        (
            Stock(releases=FIVE, configs=("c1", "c2"), proven=pairs("r5/c2", "r5/c1", "r5/c2", "r4/c1", "r3/c1")),
            3,
            ("r3", "r2", "r1"),
        ),
        # what cannot be gone back to does not count: incomplete, not there, its configuration gone
        (
            Stock(
                releases=(release(5, complete=False), *FIVE[1:]),
                configs=("c1",),
                proven=pairs("r5/c1", "r9/c1", "r4/c9", "r3/c1", "r2/c1"),
            ),
            2,
            ("r5", "r4", "r1"),
        ),
        # an unfinished run's releases stay
        (
            Stock(releases=FIVE, configs=("c1",), proven=pairs("r5/c1"), pending=frozenset({"r2"})),
            1,
            ("r4", "r3", "r1"),
        ),
        # nobody can switch the protection of the newest way back off
        (Stock(releases=FIVE, configs=("c1",), proven=pairs("r2/c1")), 0, ("r5", "r4", "r3", "r1")),
    ],
)
def test_releases(stock: Stock, retain: int, going: tuple[str, ...] | Surplus) -> None:
    found = surplus(stock, retain=retain)
    assert (found if isinstance(going, Surplus) else found.releases) == going


def test_the_rest_follows_the_releases() -> None:
    stock = Stock(
        releases=(release(3, lock="v2"), release(2), release(1)),
        partials=("r9",),
        venvs=VENVS,
        artifacts=ARTIFACTS,
        configs=("c1", "c2", "c3", "c4"),
        assigned=pairs("r3/c3"),
        proven=pairs("r3/c2", "r2/c2", "r1/c1"),
        pending=frozenset({"c4"}),
    )
    assert surplus(stock, retain=2) == Surplus(
        releases=("r1",),
        partials=("r9",),
        venvs=("v1", "v3", "v4", "v5"),
        artifacts=("s1", "s4", "s5"),
        configs=("c1",),
    )


@pytest.mark.parametrize("needed", [{"assigned": pairs("r2/c1")}, {"pending": frozenset({"r2"})}])
def test_where_nobody_knows_what_a_needed_release_is_made_of_nothing_of_that_kind_goes(needed: dict[str, Any]) -> None:
    unread = Kept(id="r2", complete=False)
    stock = Stock(
        releases=(release(3), unread, release(1)),
        venvs=VENVS,
        artifacts=ARTIFACTS,
        configs=("c1", "c2"),
        proven=pairs("r3/c1"),
        pulled=("i1",),
    )
    assert surplus(replace(stock, **needed), retain=1) == Surplus(releases=("r1",), configs=("c2",), untold=("r2",))
    assert surplus(stock, retain=1).releases == ("r2", "r1")
    assert surplus(stock, retain=1).venvs == ("v1", "v2", "v4", "v5")


def test_where_nobody_knows_what_a_slot_is_configured_by_no_configuration_goes() -> None:
    stock = Stock(releases=FIVE, configs=("c1", "c2"), assigned=(Pair("r5", ""), Pair("r4", "c2")))
    assert surplus(stock, retain=1).configs == ()


NUMBERS = st.integers(min_value=1, max_value=6)
PAIRS = st.lists(st.builds(lambda r, c: Pair(f"r{r}", f"c{c}"), NUMBERS, NUMBERS), max_size=12).map(tuple)


@given(
    there=st.lists(st.builds(lambda n, ok: release(n, complete=ok), NUMBERS, st.booleans()), unique_by=lambda r: r.id),
    configs=st.sets(NUMBERS.map(lambda n: f"c{n}")),
    assigned=PAIRS.map(lambda some: some[:2]),
    proven=PAIRS,
    retain=st.integers(min_value=0, max_value=6),
)
def test_a_way_back_is_never_lost(
    there: list[Kept], configs: set[str], assigned: tuple[Pair, ...], proven: tuple[Pair, ...], retain: int
) -> None:
    stock = Stock(
        releases=tuple(there),
        venvs=VENVS,
        artifacts=ARTIFACTS,
        configs=tuple(sorted(configs)),
        assigned=assigned,
        proven=proven,
    )
    going = surplus(stock, retain=retain)
    kept = {one.id for one in there} - set(going.releases)
    needed = {*assigned, *ways_back(stock, retain=max(1, retain))}
    assert {pair.release for pair in needed} & {one.id for one in there} == kept
    assert not {pair.config for pair in needed} & set(going.configs)
    for one in there:
        if one.id in kept:
            assert one.lock_hash not in going.venvs
            assert one.sha256 not in going.artifacts
    usable = [
        p for p in dict.fromkeys(proven) if p.config in configs and any(r.id == p.release and r.complete for r in there)
    ]
    assert len(ways_back(stock, retain=retain)) == min(retain, len(usable))


def test_names_in_whatever_an_unfinished_run_wrote() -> None:
    assert names_in({"a": "r1", "b": ["c1", {"x": "r2"}], "n": 3, "z": None}) == {"r1", "c1", "r2"}
    assert names_in(None) == frozenset()

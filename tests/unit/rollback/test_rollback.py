# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release a rollback chooses, and which it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._rollback import Pair, choices, choose


def entry(
    release: str, config: str = "c1", *, action: str = "deploy", previous: tuple[str, str] | None = None
) -> dict[str, Any]:
    before = {"release": previous[0], "config": previous[1], "slot": "blue"} if previous else None
    return {"release": release, "config": config, "action": action, "previous": before}


def info(
    *, live: tuple[str, str] | None, proven: list[dict[str, Any]], releases: list[str], incomplete: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "live": {"release": live[0], "config": live[1], "slot": "green"} if live else None,
        "proven": proven,
        "releases": [{"id": name, "complete": name not in incomplete} for name in releases],
        "configs": ["c1", "c2"],
    }


TWO = info(live=("r2", "c1"), proven=[entry("r2", previous=("r1", "c1")), entry("r1")], releases=["r1", "r2", "r3"])


def test_previous_is_what_the_live_release_replaced() -> None:
    target = choose({"a": TWO, "b": TWO}, primary="a")
    assert target.pair == Pair("r1", "c1")
    assert target.slots == {"a": "blue", "b": "blue"}


def test_going_back_twice_goes_further_back_not_to_and_fro() -> None:
    proven = [
        entry("r2", action="rollback", previous=("r3", "c1")),
        entry("r3", previous=("r2", "c1")),
        entry("r2", previous=("r1", "c1")),
        entry("r1"),
    ]
    state = info(live=("r2", "c1"), proven=proven, releases=["r1", "r2", "r3"])
    assert choose({"a": state}, primary="a").pair == Pair("r1", "c1")


def test_the_first_release_has_nothing_before_it_also_after_a_rollback_to_it() -> None:
    """A second rollback must not go forward to the release that people are fleeing."""
    proven = [entry("r1", action="rollback", previous=("r2", "c1")), entry("r2", previous=("r1", "c1")), entry("r1")]
    state = info(live=("r1", "c1"), proven=proven, releases=["r1", "r2"])
    with pytest.raises(SlipwayError, match="no release before"):
        choose({"a": state}, primary="a")


def test_a_config_only_deploy_goes_back_to_the_earlier_config() -> None:
    proven = [entry("r1", "c2", previous=("r1", "c1")), entry("r1", "c1")]
    state = info(live=("r1", "c2"), proven=proven, releases=["r1"])
    assert choose({"a": state}, primary="a").pair == Pair("r1", "c1")


def test_a_deploy_that_a_later_run_finished_still_has_a_way_back() -> None:
    proven = [entry("r2", previous=("r2", "c1")), entry("r1")]
    state = info(live=("r2", "c1"), proven=proven, releases=["r1", "r2"])
    assert choose({"a": state}, primary="a").pair == Pair("r1", "c1")


def test_the_live_release_by_name_is_nothing_to_do() -> None:
    target = choose({"a": TWO}, primary="a", release="r2")
    assert target.pair == Pair("r2", "c1")
    assert target.slots == {"a": "green"}


LOST = {"id": "r1", "complete": False, "problem": "the engine has not its image any more"}


@pytest.mark.parametrize(
    ("infos", "release", "says"),
    [
        ({"a": TWO}, "r3", "never proven"),
        ({"a": TWO}, "r9", "never proven"),
        ({"a": TWO, "b": {**TWO, "releases": [{"id": "r2", "complete": True}]}}, "r1", "missing on b"),
        ({"a": TWO, "b": {**TWO, "releases": [{"id": "r1", "complete": False}]}}, "r1", "on b: incomplete"),
        ({"a": TWO, "b": {**TWO, "releases": [LOST]}}, "r1", "on b: the engine has not its image any more"),
        ({"a": TWO, "b": {**TWO, "releases": [LOST]}}, "r1", "or deploy that release again"),
        ({"a": {**TWO, "configs": ["c2"]}}, "r1", "environment file was pruned"),
        ({"a": info(live=("r1", "c1"), proven=[entry("r1")], releases=["r1"])}, "", "no release before"),
        ({"a": info(live=None, proven=[], releases=[])}, "", "nothing is live"),
    ],
)
def test_refusals_name_the_reason(infos: dict[str, Any], release: str, says: str) -> None:
    with pytest.raises(SlipwayError, match=says):
        choose(infos, primary="a", release=release)


def test_a_refusal_lists_what_can_be_chosen() -> None:
    with pytest.raises(SlipwayError) as refused:
        choose({"a": TWO}, primary="a", release="r9")
    assert "-e release=r1" in str(refused.value)
    assert choices({"a": TWO}, "a") == [Pair("r1", "c1")]


def at(hour: str) -> str:
    return f"2026-11-21T{hour}:00:00Z"


def backup(hour: str) -> str:
    """The id of a backup that was begun then."""
    return f"20261121T{hour}0000Z-0a1b2c3d"


def proven(release: str, hour: str, *, previous: tuple[str, str] | None = None) -> dict[str, Any]:
    return {**entry(release, previous=previous), "time": at(hour)}


def change(hour: str, *breaks: str, begun: str = "08", release: str = "r3") -> dict[str, Any]:
    applied = ["a.1", *breaks]
    told = {"applied": applied, "breaks_old_code": [*breaks], "backup": backup(begun)}
    return {"time": at(hour), "release": release, **told}


def history(*changes: dict[str, Any]) -> dict[str, Any]:
    """r1, r2 and r3 were deployed at 10, 12 and 14 o'clock; r3 is live."""
    pairs = [proven("r3", "14", previous=("r2", "c1")), proven("r2", "12", previous=("r1", "c1")), proven("r1", "10")]
    return {**info(live=("r3", "c1"), proven=pairs, releases=["r1", "r2", "r3"]), "schema": [*changes]}


@pytest.mark.parametrize(
    ("changes", "safe"),
    [
        ((), True),
        ((change("14"),), True),
        ((change("14", "a.2", begun="13"),), False),
        ((change("15", "a.2", begun="13"),), False),
        ((change("12", "a.2", release="r2"), change("14")), True),
        ((change("13", "a.2", begun="13", release="r2"),), True),  # its own, that had to wait
        ((change("13", "a.2", begun="13", release="rx"),), False),  # a deploy that failed afterwards
    ],
)
def test_a_release_that_the_schema_broke_is_refused(changes: tuple[dict[str, Any], ...], safe: bool) -> None:
    infos = {"a": history(*changes)}
    if safe:
        assert choose(infos, primary="a").pair == Pair("r2", "c1")
        return
    with pytest.raises(SlipwayError, match="r2 cannot run on the database as it is now") as refused:
        choose(infos, primary="a")
    for said in ("a.2", f"restore_database={backup('13')}", "accept_schema=true"):
        assert said in str(refused.value)
    assert choose(infos, primary="a", accept_schema=True).pair == Pair("r2", "c1")
    assert choose(infos, primary="a", restored=changes[0]["backup"].replace("T1300", "T1259")).pair == Pair("r2", "c1")


def test_a_restore_undoes_only_what_is_newer_than_its_backup() -> None:
    infos = {"a": history(change("12", "a.2", begun="11", release="r2"), change("14", "a.3", begun="13"))}
    assert choose(infos, primary="a", release="r2", restored=backup("13")).pair == Pair("r2", "c1")
    with pytest.raises(SlipwayError, match=r"a\.2, applied 2026-11-21T12"):
        choose(infos, primary="a", release="r1", restored=backup("13"))
    assert choose(infos, primary="a", release="r1", restored=backup("11")).pair == Pair("r1", "c1")


def test_a_backup_of_before_the_releases_own_migrations_is_refused() -> None:
    infos = {"a": history(change("12", begun="11", release="r2"), change("14", "a.3", begun="13"))}
    with pytest.raises(SlipwayError, match=r"older than what release r2 needs.*\n.*a\.1"):
        choose(infos, primary="a", release="r2", restored=backup("11"))


def test_a_backup_of_before_what_the_release_was_built_on_is_refused() -> None:
    infos = {"a": history(change("12", begun="11", release="r2"))}
    with pytest.raises(SlipwayError, match=r"older than what release r3 needs.*\n.*a\.1"):
        choose(infos, primary="a", release="r3", restored=backup("11"))
    assert choose(infos, primary="a", release="r1", restored=backup("11")).pair == Pair("r1", "c1")


def test_a_release_whose_migrations_a_restore_has_undone_is_refused() -> None:
    info = {**history(), "undone": [change("12", release="r2")]}
    with pytest.raises(SlipwayError, match=r"r2 needs what a restore has taken out.*\n.*a\.1") as refused:
        choose({"a": info}, primary="a", release="r2")
    assert "-e release=r1" in str(refused.value)
    assert choose({"a": info}, primary="a", release="r2", accept_schema=True).pair == Pair("r2", "c1")
    assert choose({"a": info}, primary="a", release="r1").pair == Pair("r1", "c1")


def test_what_is_no_backup_is_refused() -> None:
    with pytest.raises(SlipwayError, match="is not the id of a backup"):
        choose({"a": history(change("14", "a.3"))}, primary="a", restored="yesterday")


def test_the_refusal_offers_the_releases_that_fit() -> None:
    pairs = [
        proven("r3", "14", previous=("r2", "c1")),
        {**entry("r4", action="rollback"), "time": at("16")},
        proven("r2", "12"),
    ]
    state = {**info(live=("r3", "c1"), proven=pairs, releases=["r2", "r3", "r4"]), "schema": [change("15", "a.2")]}
    with pytest.raises(SlipwayError, match="release=r4") as refused:
        choose({"a": state}, primary="a", release="r2")
    assert "release=r2" not in str(refused.value)

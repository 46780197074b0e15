# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a deploy: what is known, what is said to be unknown, and how people read it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._deploy_plan import (
    document,
    live_commit,
    plan_table,
)

OLD, NEW = "a" * 40, "b" * 40


def info(*, live: str = "r1", staged: bool = False, needs: tuple[str, ...] = ("release", "slot")) -> dict[str, Any]:
    releases = [{"id": "r1", "complete": True, "commit": OLD}]
    if staged:
        releases.append({"id": "r2", "complete": True, "commit": NEW})
    here = {"slot": "green", "release": live, "config": "c1", "since": "2026-11-21T11:06:10Z", "by": "anna@desk"}
    return {
        "app": "shop",
        "live": here if live else None,
        "releases": releases,
        "lease": None,
        "wanted": {"up_to_date": not needs, "target_slot": "blue", "needs": list(needs)},
    }


PENDING = {
    "pending": [
        {"id": "notes.0002", "class": "before", "old_code_ok": True, "reversible": True, "sql": "..."},
        {"id": "notes.0003", "class": "after", "old_code_ok": False, "reversible": False, "sql": "..."},
    ],
    "unsafe": [],
}
COMMITS = {
    "known": True,
    "why": "",
    "from": OLD,
    "to": NEW,
    "count": 3,
    "taken_back": 0,
    "uncommitted": False,
    "subjects": [{"commit": NEW, "subject": "Mend the search"}, {"commit": "c" * 40, "subject": "Say hello"}],
}
ABOUT: dict[str, Any] = {
    "application": "shop",
    "environment": "production",
    "address": "https://shop.example",
    "primary": "app1",
    "release": "r2",
    "config": "c2",
    "artifact": {
        "version": "1.4",
        "sha256": "d" * 64,
        "commit": NEW,
        "files": 7,
        "size": 99,
        "migrations": ["notes/migrations/0001_a.py", "notes/migrations/0002_b.py"],
    },
    "commits": COMMITS,
    "migrates": True,
    "migrations": PENDING,
    "live_files": [
        "/srv/shop/releases/r1/code/notes/migrations/0001_a.py",
        "/srv/shop/releases/r1/code/manage.py",
    ],
    "check_mode": False,
    "backup": {"level": "full", "rehearse": True, "without": False},
    "web_hosts": ["app1", "app2"],
    "batches": [1, "100%"],
    "canary_steps": [5, 50, 100],
    "smoke_tests": ["home"],
}


def plan(infos: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return document(infos or {"app1": info(), "app2": info(), "edge1": {"skipped": True}}, {**ABOUT, **changes})


def test_a_plan() -> None:
    found = plan()
    release = {
        "id": "r2",
        "version": "1.4",
        "sha256": "d" * 64,
        "commit": NEW,
        "files": 7,
        "size": 99,
        "frontend": None,
    }
    assert found["release"] == release
    assert sorted(found["hosts"]) == ["app1", "app2"]
    assert found["hosts"]["app1"] == {
        "state": "due",
        "serves": {"release": "r1", "config": "c1", "slot": "green"},
        "will_serve": {"release": "r2", "config": "c2", "slot": "blue"},
        "needs": ["release", "slot"],
        "staged": False,
        "pending": False,
        "pending_run": "",
    }
    assert found["batches"] == [["app1"], ["app2"]]
    assert [one["id"] for one in found["migrations"]["pending"]] == ["notes.0002", "notes.0003"]
    assert "sql" not in found["migrations"]["pending"][0]
    assert found["backup"] == {"needed": True, "made": True, "level": "full", "rehearsed": True}
    assert (found["up_to_date"], found["possible"]) == (False, True)


def test_people_read_it() -> None:
    assert plan_table(plan()).splitlines() == [
        "shop  production  https://shop.example",
        "",
        "release      r2 with config c2 (7 files, artifact dddddddddddd)",
        "             instead of r1 with config c1, live since 2026-11-21 11:06:10 UTC by anna@desk",
        "commits      3 from aaaaaaaaaa to bbbbbbbbbb",
        "               bbbbbbbbbb Mend the search",
        "               cccccccccc Say hello",
        "               and 1 more",
        "migrations   notes.0002: before the switch",
        "             notes.0003: after the switch; the live release cannot live with it; cannot be undone",
        "backup       level full, the migrations rehearsed on its copy",
        "traffic      app1, then app2; the first by 5 %, 50 %, 100 %",
        "smoke tests  home",
        "",
        "host  serves  slot   will serve  slot  needs",
        "app1  r1      green  r2          blue  release, slot",
        "app2  r1      green  r2          blue  release, slot",
    ]


def test_a_front_end_is_shown_beside_its_back_end() -> None:
    front = {"sha256": "e" * 64, "files": 9, "size": 77, "path": "/x"}
    assert (
        "             with a front end (9 files, artifact eeeeeeeeeeee)"
        in plan_table(plan(frontend=front)).splitlines()
    )
    assert plan(frontend=front)["release"]["frontend"] == {"sha256": "e" * 64, "files": 9, "size": 77}
    alone = plan_table(plan(frontend={**front, "sha256": "d" * 64}))
    assert "front end" not in alone, "it is the artifact itself"


@pytest.mark.parametrize(
    ("changes", "known", "candidates", "words"),
    [
        ({"migrations": {"skipped": True}}, False, ["notes/migrations/0002_b.py"], "not on the primary yet"),
        # In check mode nothing pending is no answer of a release that is not there.
        ({"migrations": {"pending": [], "unsafe": []}, "check_mode": True}, False, None, "NOT KNOWN"),
        ({"migrations": {"failed": True, "msg": "no database\nx"}}, False, None, "could not be asked: no database"),
        ({"migrations": {"pending": [], "unsafe": []}}, True, [], "migrations   none"),
        ({"migrates": False, "migrations": {}}, True, [], "migrations   none"),
        ({"migrations": {}, "live_files": []}, False, ABOUT["artifact"]["migrations"], "0001_a.py"),
    ],
)
def test_what_is_not_known_is_not_taken_for_nothing(
    changes: dict[str, Any], known: bool, candidates: list[str] | None, words: str
) -> None:
    found = plan(**changes)
    assert found["migrations"]["known"] is known
    assert found["backup"]["needed"] is (False if known else None)
    if candidates is not None:
        assert found["migrations"]["candidates"] == candidates
    text = plan_table(found)
    assert words in text
    assert ("if a migration is pending" in text) is not known


def test_of_an_image_nobody_has_seen_the_files() -> None:
    image = {**ABOUT["artifact"], "image": f"r.example/shop@sha256:{'d' * 64}", "migrations": []}
    found = plan(migrations={}, artifact=image)
    assert found["migrations"]["candidates"] is None
    lines = [line for line in plan_table(found).splitlines() if "migration" in line]
    assert lines[0].startswith("migrations   NOT KNOWN: the release is not on the primary yet")
    assert not any("live release has not" in line for line in lines)


def test_in_check_mode_a_release_that_is_there_is_asked() -> None:
    found = plan({"app1": info(staged=True)}, check_mode=True)
    assert found["migrations"]["known"] is True
    assert found["hosts"]["app1"]["staged"] is True


def test_unsafe_migrations_make_it_impossible() -> None:
    found = plan(migrations={**PENDING, "unsafe": ["notes.0003"]})
    assert found["possible"] is False
    assert "notes.0003: UNSAFE; the live release" in plan_table(found)
    assert "A deploy would be refused: notes.0003 is not safe" in plan_table(found)


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        ({"unreachable": True, "msg": "no route"}, "unreachable", "app2: no route"),
        ({"failed": True, "msg": "half", "missing": ["/srv/shop"]}, "must_be_provisioned", "it has no /srv/shop"),
        ({"failed": True, "msg": "damaged\nfound: x"}, "failed", "app2: damaged"),
    ],
)
def test_a_host_that_cannot_be_deployed(answer: dict[str, Any], state: str, words: str) -> None:
    found = plan({"app1": info(), "app2": answer})
    assert found["hosts"]["app2"]["state"] == state
    assert (found["possible"], found["up_to_date"]) == (False, False)
    text = plan_table(found)
    assert words in text
    assert state.replace("_", " ").upper() in text


def test_there_is_nothing_to_do() -> None:
    done = info(live="r2", staged=True, needs=())
    found = plan({"app1": done, "app2": done}, migrations={"pending": [], "unsafe": []})
    assert found["up_to_date"] is True
    assert "There is nothing to do." in plan_table(found)


def test_the_first_deploy() -> None:
    found = plan({"app1": info(live="")}, commits={**COMMITS, "known": False, "why": "no commit is known"})
    assert found["hosts"]["app1"]["serves"] is None
    text = plan_table(found)
    assert "the first one: nothing is live" in text
    assert "commits      not known: no commit is known" in text


def test_what_a_deploy_takes_back_and_what_no_commit_holds() -> None:
    text = plan_table(plan(commits={**COMMITS, "count": 0, "subjects": [], "taken_back": 2, "uncommitted": True}))
    assert "TAKES BACK 2 that the live release has" in text
    assert "changes of the work tree that no commit holds" in text


def test_no_backup_and_a_lease() -> None:
    held = {**info(), "lease": {"reason": "deploy of r3 by ben", "until": "2026-11-21T12:00:00Z", "owner": "run-1"}}
    text = plan_table(plan({"app1": held}, backup={"level": "full", "rehearse": True, "without": True}))
    assert "backup       none: webapp_accept_migrations_without_backup is set" in text
    assert "Locked for deploy of r3 by ben until 2026-11-21T12:00:00Z (run-1)." in text


def test_who_serves_no_pages_moves_last_and_what_broke_off_is_told() -> None:
    found = plan({"app1": info(), "app2": info(), "worker1": {**info(), "pending": {"run": "x"}}}, canary_steps=[100])
    assert found["batches"] == [["app1"], ["app2", "worker1"]]
    text = plan_table(found)
    assert "traffic      app1, then app2 worker1\n" in text
    assert "worker1: an earlier run broke off" in text


def test_a_run_that_is_at_work_has_not_broken_off() -> None:
    held = {"reason": "deploy of r3 by ben", "until": "2026-11-21T12:00:00Z", "owner": "run-1"}
    hosts = {
        "app1": {**info(), "lease": held, "pending": {"run": "run-1"}},
        "app2": {**info(), "pending": {"run": "x"}},
    }
    text = plan_table(plan(hosts))
    assert "app1: run-1 is at work here" in text
    assert "app2: an earlier run broke off" in text


def test_the_commit_of_the_live_release() -> None:
    assert live_commit(info()) == OLD
    assert live_commit(info(live="")) == ""
    assert live_commit({"skipped": True}) == ""

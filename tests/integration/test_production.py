# SPDX-License-Identifier: GPL-3.0-or-later
"""The production fleet: edge, three web hosts, worker and database, each a host of its own."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults import outside, steps
from tests.faults.hook import stopped_at
from tests.integration.controller import Run
from tests.integration.host import Host, Live, wait_for
from tests.integration.site import Site
from tests.integration.test_redeploy import differences
from tests.integration.test_secrets import forms, places_with
from tests.load import LoadGenerator

WEB = ("app1", "app2", "app3")
APPLICATION = (*WEB, "worker1")
OTHERS = ("edge1", "db1")
VISITS = 60
TASKS = 8
FAILED_HOSTS, UNREACHABLE_HOSTS = 2, 4  # how Ansible ends
REACH_SECONDS = 300  # a backup and its proof may be on the way
REST_SECONDS = 240  # twice what a host waits for its controller


def live(site: Site) -> Live:
    """What the fleet serves: the same release and configuration on all its application hosts."""
    found = {name: site.hosts[name].live(site.app) for name in APPLICATION}
    pairs = {(one.release, one.config) for one in found.values() if one}
    assert None not in found.values(), found
    assert len(pairs) == 1, found
    health = site.ask("/health").json()
    assert health["release"] == pairs.pop()[0], (health, found)
    return next(one for one in found.values() if one)


def answered_by(site: Site, *, visits: int) -> Counter[str]:
    """Visit so often through the edge, over TLS; which web hosts answered, by their own logs."""
    marker = secrets.token_hex(6)
    for number in range(visits):
        answer = site.ask(f"/notes?token={marker}-{number}")
        assert answer.status == 200, answer
    log = f"/var/log/nginx/{site.app}.access.json"
    # The query is not logged, the request's own number is.
    ids = [json.loads(line) for line in site.hosts["edge1"].sh(f"tail -n {visits} {log}").splitlines()]
    wanted = {line["request_id"] for line in ids if line["uri"] == "/notes"}
    assert len(wanted) == visits, ids
    found: Counter[str] = Counter()
    for name in WEB:
        lines = site.hosts[name].sh(f"tail -n {visits} {log}").splitlines()
        found[name] = sum(json.loads(line)["request_id"] in wanted for line in lines)
    return found


def manage(host: Host, app: str, command: str) -> str:
    """Run a command of the live release as the application does, without the collection."""
    slot = host.live(app)
    assert slot
    place = f"/srv/{app}/slots/{slot.slot}"
    return host.sh(
        f"systemd-run --quiet --pipe --wait --uid={app} -p EnvironmentFile=/etc/{app}/slots/{slot.slot}.env"
        f" -p WorkingDirectory={place}/code {place}/venv/bin/python manage.py {command}"
    )


def query(site: Site, sql: str) -> str:
    """Ask the database on its own host."""
    return site.hosts["db1"].sh(f'runuser -u postgres -- psql -d {site.app} -Atc "{sql}"').strip()


def work_is_done(site: Site) -> float:
    """Some tasks of app1 are done once each; how long that took."""
    batch = manage(site.hosts["app1"], site.app, f"enqueue --count {TASKS} --seconds 0.05").strip()
    done = f"SELECT count(*) FROM jobs_jobrun r JOIN jobs_job j ON j.id = r.job_id WHERE j.batch = '{batch}'"
    took = wait_for(lambda: query(site, f"{done} AND r.finished_at IS NOT NULL") == str(TASKS), seconds=30)
    assert query(site, done) == str(TASKS)
    return took


def fleet_files(site: Site, names: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """The files of several hosts."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(lambda name: site.hosts[name].files(site.app), names), strict=True))


def test_it_is_provisioned_once(production: Site, tell: Callable[[str], None]) -> None:
    first = production.play("provision").ended(0)
    second = production.play("provision").ended(0)
    changes = {name: counts.changed for name, counts in second.recap.items()}
    assert len(changes) == len(production.hosts)
    assert set(changes.values()) == {0}, second.output
    tell(
        f"{len(changes)} hosts: changed={first.changed} in {first.seconds:.0f} s,"
        f" again changed={second.changed} in {second.seconds:.0f} s"
    )


def untouched(site: Site, before: Mapping[str, dict[str, str]], began: Mapping[str, float]) -> int:
    """Hosts that carry no process of the application: same files and units, and next to nothing ran there."""
    after = fleet_files(site, OTHERS)
    for name in OTHERS:
        assert differences(before[name], after[name]) == [], name
    # A killed run may have left our maintenance page at the edge: it is looked for.
    ran = {name: [one.split(".")[-1] for one in site.hosts[name].invocations(began[name])] for name in OTHERS}
    assert ran == {"edge1": ["command"], "db1": []}
    return sum(len(files) for files in after.values())


def test_it_is_deployed(production: Site, tell: Callable[[str], None]) -> None:
    before, began = fleet_files(production, OTHERS), {name: production.hosts[name].now() for name in OTHERS}
    run = production.deploy(production.sources.tree(release=1), "-vvvv", "--diff")
    (production.directory / "deploy.log").write_text(run.output)
    same = untouched(production, before, began)
    found = live(production)
    page = production.ask("/")
    assert page.status == 200
    assert found.release in page.body
    assert production.ask("/", scheme="http").status == 301
    answers = answered_by(production, visits=VISITS)
    assert min(answers.values()) > 0, answers
    assert answers.total() == VISITS, answers
    tell(
        f"{found.release} in {run.seconds:.0f} s, {same} files and units of edge and database the same, {dict(answers)}"
    )


def test_work_is_done_and_beat_ticks(production: Site, tell: Callable[[str], None]) -> None:
    took = work_is_done(production)
    ticks = int(query(production, "SELECT count(*) FROM jobs_tick"))
    wait_for(lambda: int(query(production, "SELECT count(*) FROM jobs_tick")) >= ticks + 3, seconds=20)
    recent = "FROM jobs_tick WHERE sent_at > now() - interval '4 s'"
    beats = query(production, f"SELECT string_agg(DISTINCT host || '/' || slot, ',') {recent}")
    assert beats == f"worker1/{production.hosts['worker1'].look(production.app)['route'].popitem()[0]}", beats
    tell(f"{TASKS} jobs from app1 done once each by worker1 in {took:.1f} s; ticks of {beats}: {ticks}, then 3 more")


def test_visitors_notice_neither_redeploy_nor_rollback(production: Site, tell: Callable[[str], None]) -> None:
    first = live(production)
    url = f"https://{production.hosts['edge1'].address}"
    load = LoadGenerator(
        url=url, host=production.domain, insecure=True, clients=12, rate=15.0, max_seconds=300, verify_posts=True
    )
    with load:
        load.wait_for(answers=40)
        redeploy = production.deploy(production.sources.tree(release=2))
        second = live(production)
        load.wait_for(answers=40)
        rollback = production.play("rollback").ended(0)
        third = live(production)
        load.wait_for(answers=40)
    report = load.report
    assert second.release != first.release
    assert third.release == first.release
    assert report.good, report.lines()
    assert {seen.release for seen in report.releases} >= {first.release, second.release}, report.lines()
    tell(
        f"sent={report.sent} answered={report.answered} failed={report.failed}; redeploy {redeploy.seconds:.0f} s,"
        f" rollback {rollback.seconds:.0f} s, notes confirmed {len(report.posts.answered)}, lost 0, doubled 0"
    )


def test_the_secrets_of_the_fleet_stay_in_their_files(
    production: Site, planted: Mapping[str, str], tell: Callable[[str], None]
) -> None:
    words = set().union(*(forms(value) for value in planted.values()))
    log: Path = production.directory / "deploy.log"
    assert [word for word in words if word in log.read_text()] == []
    # The timers ask for backups by the last one, on the primary.
    own = tuple(f"/etc/{production.app}/{name}" for name in ("environments/", "slots/", "backup.json"))
    found = {name: places_with(host, words) for name, host in production.hosts.items()}
    expected = {name: [place for place in found[name] if place.startswith(own)] for name in APPLICATION}
    assert all(expected.values()), found
    for name in APPLICATION:
        assert found[name] == expected[name]
    assert found["edge1"] == []
    (settings,) = found["db1"]
    assert settings.startswith("/etc/redis/"), found["db1"]
    assert production.hosts["db1"].sh(f"stat -c '%a %U:%G' {settings}").strip() == "640 redis:redis"
    tell(f"in {sum(map(len, found.values()))} files of {len(found)} hosts, none but those that need them")


def test_a_backup_comes_back_over_the_network(production: Site, tell: Callable[[str], None]) -> None:
    """The user of webapp_backup_database_url was made by provision, with what a restore needs."""
    ledger = production.hosts["app1"].look(production.app)["ledger"]
    backup = [one["database"]["backup"] for one in ledger if (one.get("database") or {}).get("backup")][-1]
    looked = production.play("restore", "--check", backup=backup).ended(0)
    assert "loses what was written" in looked.said, looked.output
    run = production.play("restore", backup=backup, target="board_copy", confirm="board_copy").ended(0)
    sql = "SELECT count(*), (SELECT tableowner FROM pg_tables WHERE tablename = 'notes_note') FROM django_migrations"
    found = production.hosts["db1"].sh(f'runuser -u postgres -- psql -d board_copy -Atc "{sql}"').strip()
    production.hosts["db1"].sh("runuser -u postgres -- dropdb board_copy")
    assert re.fullmatch(r"[1-9]\d*\|board", found), found
    tell(f"restored beside the live one in {run.seconds:.0f} s: {found}")


def told(site: Site) -> dict[str, Any]:
    """What status.yml says to programs: one JSON document on its standard output, and nothing else there."""
    story = {"ANSIBLE_STDOUT_CALLBACK": "slipway.webapp.story"}
    program = dataclasses.replace(site.controller, settings=story, errors=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(site.play("status", controller=program, format="json").ended(0).output)
    return found


def test_status_says_what_there_is(production: Site, tell: Callable[[str], None]) -> None:
    document, found = told(production), live(production)
    assert document["live"] == [{"release": found.release, "config": found.config}]
    assert (document["agree"], document["healthy"]) == (True, True)
    assert {name: document["hosts"][name]["state"] for name in OTHERS} == dict.fromkeys(OTHERS, "no_process")
    for name in APPLICATION:
        seen, said = production.hosts[name].look(production.app), document["hosts"][name]
        here = production.hosts[name].live(production.app)
        assert here
        last = seen["ledger"][-1]
        assert (last["action"], last["outcome"]) == ("rollback", "succeeded")
        wanted = {"slot": here.slot, "release": here.release, "config": here.config}
        assert said["live"] == {**wanted, "since": last["time"], "by": last["by"]}, name
        assert said["route"]["weights"] == {"blue": 0, "green": 0, here.slot: 100}, name
        assert sorted(one["id"] for one in said["releases"]) == seen["releases"], name
        assert said["lease"] is None
        for slot, state in seen["slots"].items():
            assert said["slots"][slot]["release"] == state["release"]
            active = {process: unit["active"] for process, unit in said["slots"][slot]["processes"].items()}
            assert active == {process: unit["active"] for process, unit in state["processes"].items()}, (name, slot)
    production.hosts["app2"].sh(f"systemctl stop {production.app}-web@{found.slot}")
    ill = told(production)
    production.hosts["app2"].sh(f"systemctl start {production.app}-web@{found.slot}")
    assert [name for name in APPLICATION if not ill["hosts"][name]["health"]["ok"]] == ["app2"]
    assert (ill["healthy"], told(production)["healthy"]) == (False, True)
    tell(f"{len(APPLICATION)} hosts as their files, units and processes say; a stopped web process is seen")


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What befalls a host in front of a step of a deploy. Where it is ``lost`` it has to end the run by itself."""

    host: str
    step: str
    befall: Callable[[Host, str], None]
    mend: Callable[[Host, str], None]
    lost: bool = False


def cannot_start(process: str, *, on: str) -> Trouble:
    """The unit that the new release would run as ends at once; what serves is let alone."""

    def place(app: str, slot: str) -> str:
        return f"/run/systemd/system/{app}-{process}@{slot}.service.d"

    def befall(here: Host, app: str) -> None:
        (live,) = here.look(app)["route"]
        directory = place(app, {"blue": "green", "green": "blue"}[live])
        words = "[Service]\\nExecStart=\\nExecStart=/bin/false\\n"
        here.sh(f"mkdir -p {directory}; printf '{words}' >{directory}/broken.conf; systemctl daemon-reload")

    def mend(here: Host, app: str) -> None:
        units = f"'{app}-{process}@*.service'"
        here.sh(f"rm -rf {place(app, '*')}; systemctl daemon-reload; systemctl reset-failed {units} || true")

    return Trouble(host=on, step="start", befall=befall, mend=mend)


# What serves there answers visitors as before.
OUT_OF_REACH = Trouble(
    host="app3",
    step="start",
    befall=lambda here, _app: outside.cut_ssh(here),
    mend=lambda here, _app: outside.right(here),
    lost=True,
)


def gone_on_without(site: Site, trouble: Trouble, *, tree: Path) -> Run:
    """A deploy that meets the trouble."""
    settings: dict[str, Any] = {"webapp_on_host_failure": "exclude_host", "webapp_health_deadline": 30}
    step = steps.BY_NAME[trouble.step]
    with stopped_at(step, site, "deploy", limit=REACH_SECONDS, webapp_source=str(tree), **settings) as stopped:
        trouble.befall(site.hosts[trouble.host], site.app)
        stopped.go_on()
        return stopped.started.wait()


def says_so(run: Run, trouble: Trouble, *, old: str, new: str) -> None:
    """Whom the run went on without, and what to do next."""
    host = trouble.host
    assert run.code == (UNREACHABLE_HOSTS if trouble.lost else FAILED_HOSTS), run.output[-6000:]
    back = f", then rotation.yml -e back={host}" if host in WEB else ""
    for words in (
        f"the run goes on without {host}",
        f"{new} serves its users, but not from {host}",
        f"mend what failed there, deploy again{back}",
        f"{host} cannot be reached; it goes back to {old}" if trouble.lost else f"{host} serves {old}",
    ):
        assert words in run.said, f"{words!r} is not in:\n{run.output[-6000:]}"
    assert ("rotation.yml -e back=" in run.said) == (host in WEB), run.output[-6000:]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(cannot_start("web", on="app3"), id="web-fails", marks=pytest.mark.long),
        pytest.param(OUT_OF_REACH, id="web-unreachable", marks=pytest.mark.long),
        pytest.param(cannot_start("worker", on="worker1"), id="worker-fails", marks=pytest.mark.long),
    ],
)
def test_a_run_goes_on_without_a_host(production: Site, trouble: Trouble, tell: Callable[[str], None]) -> None:
    """The others get the release, the edge leaves a web host alone, and visitors and tasks notice nothing."""
    before, victim, tree = live(production), production.hosts[trouble.host], production.sources.tree(release=3)
    url = f"https://{production.hosts['edge1'].address}"
    load = LoadGenerator(
        url=url, host=production.domain, insecure=True, clients=8, rate=10.0, max_seconds=900, verify_posts=True
    )
    try:
        with load:
            load.wait_for(answers=20)
            run = gone_on_without(production, trouble, tree=tree)
            load.wait_for(answers=20)
        # What nobody could tell it, it finds out by itself.
        wait_for(lambda: victim.look(production.app)["pending"] is None, seconds=REST_SECONDS)
        new = production.ask("/health").json()["release"]
        found = {name: production.hosts[name].live(production.app) for name in APPLICATION}
        answers = answered_by(production, visits=VISITS)
        took = work_is_done(production)
    finally:
        trouble.mend(victim, production.app)
    assert new != before.release
    says_so(run, trouble, old=before.release, new=new)
    there = found.pop(trouble.host)
    assert {one.release if one else None for one in found.values()} == {new}, found
    # One that was lost follows the others, if its patience ends when they have stayed.
    assert there == before or (trouble.lost and there is not None and there.release == new), there
    assert {name for name, count in answers.items() if not count} == {trouble.host} & set(WEB), answers
    assert load.report.good, load.report.lines()
    again = production.deploy(tree)
    if trouble.host in WEB:
        production.play("rotation", back=trouble.host).ended(0)
    assert live(production).release == new
    assert min(answered_by(production, visits=VISITS).values()) > 0
    report = load.report
    tell(
        f"sent={report.sent} answered={report.answered} failed={report.failed}, {run.seconds:.0f} s; tasks done without"
        f" {trouble.host} in {took:.1f} s; all hosts got it {again.seconds:.0f} s later"
    )

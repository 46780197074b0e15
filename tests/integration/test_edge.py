# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge of the production fleet: testers, the maintenance page, rotation, and hosts that go and come under load."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import shlex
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.app import frontend as editions
from tests.faults import steps
from tests.faults.hook import stopped_at
from tests.hosts import engine
from tests.integration.conftest import fleet_of
from tests.integration.controller import ROOT, Run
from tests.integration.host import Host, wait_for
from tests.integration.site import Site, make_site
from tests.load import LoadGenerator
from tests.load.report import Report
from tests.scenarios.ask import ask

pytestmark = pytest.mark.long
TOKEN = "preview-9f2c1b7a55d0"
WEB = ("app1", "app2", "app3")
AWAY_SECONDS = 8
PATIENCE = 120  # seconds until a deploy has come to a step
VISITS = 6
# Of those who stay until they are told to come again, and of the load's; none of these leaves by itself.
PATIENT, SOCKETS, ENDLESS = 3, 6, 100_000
STAY_SECONDS = 400
WARM_SECONDS = 15
SERVICE_RESTART = 1012  # https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number


def settings() -> dict[str, Any]:
    """No worker and no backups: what is looked at here needs neither."""
    return {
        "webapp_primary": "app1",
        "webapp_celery": "",
        "webapp_database_password": "edge-database-4711",
        "webapp_redis_password": "edge-redis-4711",
        "webapp_accept_migrations_without_backup": True,
        "webapp_preview_token": TOKEN,
        "webapp_warm_seconds": 3600,
        # How a fleet moves is looked at elsewhere.
        "webapp_approval": False,
        "webapp_canary_analysis": False,
        "webapp_bake_seconds": 0,
        "webapp_batches": ["100%"],
    }


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Edge, three web hosts and their database; two releases, of which the first is warm in the other slot."""
    for hosts in fleet_of("production"):
        site = make_site(
            app="board",
            environment="production",
            directory=tmp_path_factory.mktemp("edge"),
            hosts=hosts,
            edge="edge1",
            settings=settings(),
        )
        site.play("provision").ended(0)
        site.deploy(site.sources.tree(release=1))
        site.deploy(site.sources.tree(release=2))
        yield site


@dataclass(frozen=True)
class Seen:
    """What somebody got."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def slot(self) -> str:
        return str(json.loads(self.body)["slot"])

    @property
    def release(self) -> str:
        return str(json.loads(self.body)["release"])


def get(site: Site, path: str, **headers: str) -> Seen:
    """Ask the edge, with further headers (an underscore stands for a hyphen)."""
    context = ssl._create_unverified_context()  # the certificate is a private one
    visitor = http.client.HTTPConnection(site.domain, timeout=20)
    plain = socket.create_connection((site.hosts["edge1"].address, 443), timeout=20)
    visitor.sock = context.wrap_socket(plain, server_hostname=site.domain)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    visitor.request("GET", path, headers=sent)
    answer = visitor.getresponse()
    found = {name.lower(): value for name, value in answer.getheaders()}
    body = answer.read().decode()
    visitor.close()
    return Seen(answer.status, found, body)


def as_tester(site: Site, path: str) -> Seen:
    return get(site, path, X_Slipway_Preview=TOKEN)


def by_cookie(site: Site, path: str) -> Seen:
    return get(site, path, Cookie=f"a=1; slipway_preview={TOKEN}; b=2")


def load(site: Site, **options: Any) -> LoadGenerator:
    """Visitors who never ask twice."""
    url = f"https://{site.hosts['edge1'].address}"
    given = {"clients": 12, "rate": 20.0, "max_seconds": 900, "verify_posts": True, "slow_seconds": (0.3, 1.0)}
    return LoadGenerator(url=url, host=site.domain, insecure=True, **{**given, **options})


def counts(report: Report) -> str:
    changing = sum(report.kinds[kind].sent for kind in ("note", "upload"))
    return f"sent={report.sent} ({changing} POST) failed={report.failed}, slowest {report.latency_ms.max:.0f} ms"


def upstream(site: Site) -> dict[str, bool]:
    """Who is out, by what Nginx was told."""
    lines = site.hosts["edge1"].sh("nginx -T 2>/dev/null | grep '^ *server .*:8080 '").splitlines()
    return {line.split("# ")[1]: " down;" in line for line in lines}


def slots(site: Site) -> tuple[str, str]:
    """The live one and the other one."""
    live = site.ask("/health").json()["slot"]
    return live, {"blue": "green", "green": "blue"}[live]


def route(site: Site, **wish: str) -> Run:
    """What the transaction does on every web host before it moves anybody."""
    words = " ".join(f"{name}={value}" for name, value in wish.items())
    where = ("-i", str(site.inventory), ",".join(WEB))
    return site.controller.run(
        "ansible", *where, "-b", "-m", "slipway.webapp.route", "-a", f"app={site.app} {words}"
    ).ended(0)


def test_testers_come_first(fleet: Site, tell: Callable[[str], None]) -> None:
    live, other = slots(fleet)
    assert {as_tester(fleet, "/health").slot, by_cookie(fleet, "/health").slot} == {live}, "there is nothing to see yet"
    route(fleet, slot=live, preview=other)
    for _attempt in range(6):
        assert (as_tester(fleet, "/health").slot, by_cookie(fleet, "/health").slot) == (other, other)
        assert get(fleet, "/health").slot == live
        assert get(fleet, "/health", X_Slipway_Preview=TOKEN.upper()).slot == live, "another token is none"
    names = [fleet.hosts[name].sh("tail -n 40 /var/log/nginx/board.access.json") for name in WEB]
    logged = [json.loads(line) for text in names for line in text.splitlines()]
    assert {line["slot"] for line in logged if line["bucket"] == "preview"} >= {other}
    assert TOKEN not in "".join(names)
    # A route of before there were testers, and a slot that has gone: they are served as everybody is.
    for name in WEB:
        fleet.hosts[name].sh(f"rm /srv/{fleet.app}/route/preview")
    assert as_tester(fleet, "/health").slot == live
    assert route(fleet, slot=live).code == 0
    readable = [
        fleet.hosts[name].sh(f"grep -rl {TOKEN} /etc/nginx /srv/board || true").split() for name in (*WEB, "edge1")
    ]
    assert readable == [["/etc/nginx/conf.d/slipway-preview-board.conf"]] * 4
    assert fleet.hosts["app1"].sh(f"stat -c '%a %U' {readable[0][0]}").strip() == "600 root"
    tell(f"header and cookie reach {other} while everybody gets {live}")


def test_testers_have_a_release_before_anybody_else_does(fleet: Site, tell: Callable[[str], None]) -> None:
    """Inside of a deploy, when every host is well and the first of them has not moved; afterwards all have it."""
    old, (_live, other) = get(fleet, "/health").release, slots(fleet)
    tree = fleet.sources.tree(release=2)
    with stopped_at(steps.BY_NAME["switch_1"], fleet, "deploy", limit=PATIENCE, webapp_source=str(tree)) as run:
        seen = [as_tester(fleet, "/health") for _visit in range(VISITS)]
        seen += [by_cookie(fleet, "/health") for _visit in range(VISITS)]
        everybody = [get(fleet, "/health") for _visit in range(VISITS)]
        stranger = get(fleet, "/health", X_Slipway_Preview=TOKEN.upper())
        assert run.running
        run.go_on()
        run.started.wait().ended(0)
    (new,) = {one.release for one in seen}
    assert new != old
    assert {one.slot for one in seen} == {other}
    assert {one.release for one in (*everybody, stranger)} == {old}
    after = [get(fleet, "/health"), as_tester(fleet, "/health"), by_cookie(fleet, "/health")]
    assert {(one.release, one.slot) for one in after} == {(new, other)}
    tell(f"{len(seen)} visits of testers to {new} while {len(everybody)} of everybody else found {old}")


# Stands where the application does, and keeps what it is sent.
EAR = """
import os, socket
listener = socket.socket(socket.AF_UNIX)
os.mkdir("/run/ear")
listener.bind("/run/ear/web.sock")
os.chmod("/run/ear/web.sock", 0o666)
listener.listen()
connection, _ = listener.accept()
open("/run/heard", "wb").write(connection.recv(65536))
connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
"""
ASK = """
import http.client, json, sys
connection = http.client.HTTPConnection(sys.argv[1], 8080, timeout=10)
connection.request("GET", "/told", headers=json.loads(sys.argv[2]))
print(connection.getresponse().status)
"""


def test_the_application_is_told_of_no_tester(fleet: Site) -> None:
    """It sees neither the header nor the cookie of a tester, and all the other cookies."""
    app1, link = fleet.hosts["app1"], f"/srv/{fleet.app}/route/preview"
    wait = "timeout 30 sh -c 'until [ -S /run/ear/web.sock ]; do sleep 0.1; done'"
    app1.sh(f"systemd-run --quiet --unit=ear python3 -c {shlex.quote(EAR)}; {wait}; ln -sfn /run/ear {link}")
    sent = {"Host": fleet.domain, "X-Slipway-Preview": TOKEN, "Cookie": f"a=1; slipway_preview={TOKEN}; b=2"}
    words = f"{app1.address} {shlex.quote(json.dumps(sent))}"
    status = fleet.hosts["edge1"].sh(f"python3 -c {shlex.quote(ASK)} {words}").strip()
    heard = app1.sh(f"rm {link}; rm -r /run/ear; cat /run/heard")
    assert status == "200"
    assert heard.startswith("GET /told")
    assert "\r\nCookie: a=1; b=2\r\n" in heard
    assert TOKEN not in heard
    assert "preview" not in heard.lower()


def test_only_the_hosts_of_the_environment_learn_of_a_transaction(fleet: Site, tell: Callable[[str], None]) -> None:
    app2, place, text = fleet.hosts["app2"], f"/srv/{fleet.app}/transaction.json", '{"run": "r"}'
    app2.sh(f"[ ! -e {place} ] || mv {place} /root/kept; echo {shlex.quote(text)} >{place}; chmod 644 {place}")
    path, words = "/.slipway/transaction", shlex.quote(json.dumps({"Host": fleet.domain}))
    ask = ASK.replace("/told", path)
    told = {
        name: host.sh(f"python3 -c {shlex.quote(ask)} {app2.address} {words}") for name, host in fleet.hosts.items()
    }
    assert {found.strip() for found in told.values()} == {"200"}, told
    stranger = http.client.HTTPConnection(app2.address, 8080, timeout=10)
    stranger.request("GET", path, headers={"Host": fleet.domain})
    with pytest.raises(ConnectionError):
        stranger.getresponse()
    for way in (path, "//.slipway/transaction", "/x/%2e%2e/.slipway/transaction"):
        assert get(fleet, way).status == 404
        assert as_tester(fleet, way).status == 404
    app2.sh(f"rm {place}; [ ! -e /root/kept ] || mv /root/kept {place}")
    tell(f"{len(told)} hosts are told, nobody else")


def test_maintenance(fleet: Site, tell: Callable[[str], None]) -> None:
    on: dict[str, Any] = {"maintenance": "on", "reason": "new disks"}
    assert fleet.play("maintenance", "--check", **on).ended(0).changed == 1
    assert get(fleet, "/").status == 200
    assert fleet.play("maintenance", **on).ended(0).changed == 1
    assert fleet.play("maintenance", maintenance="on").ended(0).changed == 0
    closed = get(fleet, "/")
    assert (closed.status, closed.headers["retry-after"]) == (503, "10")
    assert [get(fleet, "/health").status, as_tester(fleet, "/").status, by_cookie(fleet, "/notes?token=x").status] == [
        200
    ] * 3
    assert "new disks" in fleet.play("status").ended(0).said
    deploy = fleet.deploy(fleet.sources.tree(release=2))
    assert get(fleet, "/").status == 503, "a deploy does not take away what somebody has put there"
    assert fleet.play("maintenance", maintenance="off").ended(0).changed == 1
    assert get(fleet, "/").status == 200
    assert fleet.play("maintenance", maintenance="off").ended(0).changed == 0
    assert "found: maintenance=of" in fleet.play("maintenance", maintenance="of").refused().said
    tell(f"503 for visitors, 200 for health and testers; a deploy in between took {deploy.seconds:.0f} s")


def test_a_host_is_taken_out_and_nginx_is_configured_anew_under_load(fleet: Site, tell: Callable[[str], None]) -> None:
    with load(fleet) as running:
        running.wait_for(answers=40)
        fleet.play("rotation", out="app2").ended(0)
        assert upstream(fleet) == {"app1": False, "app2": True, "app3": False}
        provision = fleet.play("provision", nginx_retry_after=11).ended(0)
        assert upstream(fleet)["app2"], "what is out stays out"
        time.sleep(1)
        before = fleet.hosts["app2"].sh("wc -l </var/log/nginx/board.access.json")
        running.wait_for(answers=60)
        assert fleet.hosts["app2"].sh("wc -l </var/log/nginx/board.access.json") == before
        assert "app2 is out of rotation" in fleet.play("status").ended(0).said
        fleet.play("rotation", back="app2").ended(0)
        running.wait_for(answers=40)
    assert provision.changed > 0
    assert not any(upstream(fleet).values())
    assert running.report.good, running.report.lines()
    assert "Nobody would answer" in fleet.play("rotation", out="app1,app2,app3").refused().said
    tell(f"{counts(running.report)}; provision changed {provision.changed}")


def test_a_canary_without_traffic_is_refused(fleet: Site) -> None:
    before = slots(fleet)
    judged: dict[str, Any] = {"webapp_batches": [1, "100%"], "webapp_canary_analysis": True}
    fleet.play("rotation", out="app1").ended(0)
    try:
        run = fleet.play("deploy", webapp_source=str(fleet.sources.tree()), **judged).refused()
    finally:
        fleet.play("rotation", back="app1").ended(0)
    assert "app1, which would have it first, out of rotation" in run.said, run.output[-4000:]
    assert "rotation.yml -e back=app1" in run.said, run.output[-4000:]
    assert slots(fleet) == before
    assert fleet.hosts["app1"].look("board")["lease"] is None


def test_hosts_are_restarted_under_load(fleet: Site, tell: Callable[[str], None]) -> None:
    with load(fleet) as running:
        running.wait_for(answers=40)
        nginx = fleet.play("restart", only="app1", what="nginx").ended(0)
        reboot = fleet.start("restart", "-e", "only=app3")
        power_on(fleet.hosts["app3"])
        seconds = reboot.wait().ended(0).seconds
        running.wait_for(answers=40)
    assert running.report.good, running.report.lines()
    assert not any(upstream(fleet).values())
    assert fleet.hosts["app1"].look("board")["lease"] is None
    refused = fleet.play("restart", only="db1").refused()
    assert "accept_downtime=true" in refused.said
    tell(f"{counts(running.report)}; an Nginx {nginx.seconds:.0f} s, a reboot {seconds:.0f} s")


def power_on(host: Host) -> None:
    """A container that reboots ends, and somebody must start it."""
    end = time.monotonic() + 120
    while (found := engine.require().containers.get(host.container)).status != "exited":
        assert time.monotonic() < end, f"{host.name} did not go down"
        time.sleep(0.3)
    found.start()


def test_a_host_that_does_not_come_back_stays_out(fleet: Site) -> None:
    """And those after it are not touched."""
    slot, _other = slots(fleet)
    unit = f"/etc/systemd/system/board-web@{slot}.service.d"
    fleet.hosts["app2"].sh(
        f"mkdir -p {unit}; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >{unit}/broken.conf;"
        " systemctl daemon-reload"
    )
    began = fleet.hosts["app3"].sh(f"systemctl show -p ActiveEnterTimestamp board-web@{slot}")
    run = fleet.play("restart", only="app2,app3", what="application").refused()
    fleet.hosts["app2"].sh(
        f"rm -r {unit}; systemctl daemon-reload; systemctl reset-failed; systemctl start board-web@{slot}"
    )
    assert "rotation.yml -e back=app2" in run.said
    assert upstream(fleet) == {"app1": False, "app2": True, "app3": False}
    assert fleet.hosts["app3"].sh(f"systemctl show -p ActiveEnterTimestamp board-web@{slot}") == began
    assert fleet.hosts["app1"].look("board")["lease"] is None
    fleet.play("rotation", back="app2").ended(0)


def uninstalled(app: str) -> str:
    """What the operator's guide has people type on a host that shall carry the application no more."""
    guide = (ROOT / "docs" / "operators-guide.md").read_text()
    found = re.search(r"^## Uninstalling\n.*?^```\n(app=)shop\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert found
    return f"{found[1]}{app}\n{found[2]}rm -rf /srv/{app}"


def test_a_web_host_leaves_and_another_comes(fleet: Site, tell: Callable[[str], None]) -> None:
    """As the documentation says, under load. Nobody is sent to the one that comes before it has a release."""
    app3, inventory = fleet.hosts["app3"], fleet.inventory / "hosts.yml"
    everybody = inventory.read_text()
    others = yaml.safe_load(everybody)
    del others[fleet.environment]["hosts"]["app3"]
    log = f"/var/log/nginx/{fleet.app}.access.json"
    with load(fleet) as running:
        running.wait_for(answers=40)
        fleet.play("rotation", out="app3").ended(0)
        app3.sh(uninstalled(fleet.app))
        logged = app3.sh(f"wc -l <{log}")
        inventory.write_text(yaml.safe_dump(others))
        left = fleet.play("provision").ended(0)
        assert upstream(fleet) == {"app1": False, "app2": False}
        assert fleet.play("provision").ended(0).changed == 0
        assert app3.sh(f"systemctl list-units --all --plain --no-legend '{fleet.app}-*'") == ""
        inventory.write_text(everybody)
        came = fleet.play("provision").ended(0)
        assert "app3 is passed no requests yet" in came.said, came.output
        assert upstream(fleet) == {"app1": False, "app2": False, "app3": True}
        assert "app3 is out of rotation" in fleet.play("status").ended(0).said
        fleet.deploy(fleet.sources.tree(release=2))
        running.wait_for(answers=40)
        assert app3.sh(f"wc -l <{log}") == logged, "nobody was sent there"
        fleet.play("rotation", back="app3").ended(0)
        running.wait_for(answers=60)
    assert not any(upstream(fleet).values())
    assert int(app3.sh(f"wc -l <{log}")) > int(logged)
    assert running.report.good, running.report.lines()
    tell(f"{counts(running.report)}; provision without it {left.seconds:.0f} s, with it {came.seconds:.0f} s")


def stop_hard(host: Host) -> Callable[[], None]:
    engine.require().containers.get(host.container).kill()
    return host.restart


def cut_off(host: Host) -> Callable[[], None]:
    """Its packets go nowhere, and nobody says so."""
    host.sh("ip route show default >/root/route; ip link set eth0 down")
    return lambda: void(host.sh("ip link set eth0 up; ip route add $(cat /root/route)"))


def void(_found: Any) -> None:
    """For what is done, not asked."""


@pytest.mark.parametrize("fault", [stop_hard, cut_off])
def test_a_web_host_fails_under_load(
    fleet: Site, fault: Callable[[Host], Callable[[], None]], tell: Callable[[str], None]
) -> None:
    """Whoever comes later notices nothing, and no GET fails where the host is gone.

    A POST that was at the host may: nobody knows whether it was done, so it is not repeated. A host that is cut off
    loses its database, too, and what it was answering may reach the edge as its error when it is back.
    """
    with load(fleet, clients=16, rate=25.0, timeout=60.0) as running:
        running.wait_for(answers=50)
        mend = fault(fleet.hosts["app2"])
        waiter = threading.Timer(AWAY_SECONDS, lambda: None)
        waiter.start()
        running.wait_for(answers=100)
        waiter.join()
        mend()
        running.wait_for(answers=50)
    report = running.report
    failed = {kind: found.failed for kind, found in report.kinds.items() if found.failed}
    assert fault is cut_off or set(failed) <= {"note", "upload"}, report.lines()
    assert sum(failed.values()) <= 2, report.lines()
    assert report.posts.sound, report.lines()
    tell(counts(report))


def test_files_of_a_front_end_are_those_of_the_web_hosts(fleet: Site, tell: Callable[[str], None]) -> None:
    """Whichever host answers: the same file, the same headers, and the same ETag, so that none is sent twice."""
    front = editions.make(edition=1, destination=fleet.directory / "front")
    settings: dict[str, Any] = {"webapp_frontend_source": str(front), "webapp_backend_paths": ["/notes", "/old/"]}
    fleet.play("provision", **settings).ended(0)
    fleet.deploy(fleet.sources.tree(release=2), **settings)
    pages = [get(fleet, "/") for _time in range(12)]
    assert {page.status for page in pages} == {200}
    assert {page.body for page in pages} == {(front / "index.html").read_text()}
    assert {page.headers["cache-control"] for page in pages} == {"no-cache"}
    (etag,) = {page.headers["etag"] for page in pages}
    again = [get(fleet, "/some/place", If_None_Match=etag).status for _time in range(12)]
    assert set(again) == {304}
    part = next(name for name in editions.files(1) if name.startswith("assets/"))
    seen = [get(fleet, f"/{part}") for _time in range(6)]
    assert {(one.status, one.headers["cache-control"]) for one in seen} == {
        (200, "public, max-age=31536000, immutable")
    }
    assert get(fleet, "/assets/none-00000000.js").status == 404
    assert get(fleet, "/notes?token=x").status == 200
    assert get(fleet, "/old").headers["location"] == "/old/", "no address of the inside gets out"
    assert get(fleet, "/health").status == 200
    logs = [fleet.hosts[name].sh('grep -c \'"uri":"/"\' /var/log/nginx/board.access.json || true') for name in WEB]
    assert sum(int(count) for count in logs) >= 12
    tell(f"one ETag from {len(WEB)} hosts; {len(again)} times 304")


def serving(site: Site, slot: str) -> list[str]:
    """The web hosts on which a slot runs, or is being stopped."""
    ask_unit = f"systemctl is-active {site.app}-web@{slot}"
    return [name for name in WEB if site.hosts[name].try_sh(ask_unit)[1].strip() not in ("inactive", "failed")]


def stays(site: Site) -> dict[str, Any]:
    """A visitor who says one thing, keeps the WebSocket until it is closed, and comes again."""
    visit = ask(
        address=site.hosts["edge1"].address,
        name=site.domain,
        scheme="https",
        paths=["/ws/echo"],
        text="Here I stay",
        stay=STAY_SECONDS,
    )
    (found,) = asyncio.run(visit)
    return found


def test_websockets_end_with_their_slot_and_come_again(fleet: Site, tell: Callable[[str], None]) -> None:
    """Two proxies away from it: what is open stays with the old release through a switch, until its slot is stopped."""
    settings: dict[str, Any] = {"webapp_server": "uvicorn"}
    fleet.play("provision", **settings).ended(0)
    fleet.deploy(fleet.sources.tree(release=2), **settings)
    live, _other = slots(fleet)
    old = get(fleet, "/health").release
    with (
        load(fleet, clients=4, rate=12.0, websockets=SOCKETS, socket_echoes=ENDLESS) as running,
        ThreadPoolExecutor(PATIENT) as pool,
    ):
        patient = [pool.submit(stays, fleet) for _visitor in range(PATIENT)]
        running.wait_for(answers=60)
        fleet.deploy(fleet.sources.tree(release=2), **settings, webapp_warm_seconds=WARM_SECONDS)
        new = get(fleet, "/health").release
        found = [one.result() for one in patient]
        wait_for(lambda: not serving(fleet, live), seconds=PATIENCE)
        running.wait_for(answers=100)
    assert {json.loads(one["body"])["release"] for one in found} == {old}
    assert {one["closed"] for one in found} == {SERVICE_RESTART}
    assert {json.loads(one["again"])["release"] for one in found} == {new}
    report = running.report
    # What was sent in the instant of the end was not answered, and the client is told by the same code to say it again.
    unlucky = [one for one in report.examples if one.failure == "socket-closed"]
    assert report.failed == len(unlucky) <= SOCKETS, report.lines()
    assert {one.detail for one in unlucky} <= {f"code {SERVICE_RESTART} instead of an echo"}, report.lines()
    # Each of them was closed once, and opened anew once.
    assert report.closed_sockets[str(SERVICE_RESTART)] + len(unlucky) == SOCKETS, report.closed_sockets
    assert set(report.closed_sockets) == {str(SERVICE_RESTART)}, report.closed_sockets
    opened = report.kinds["socket-open"]
    assert (opened.sent, opened.failed) == (2 * SOCKETS, 0), report.lines()
    assert report.posts.sound, report.lines()
    tell(
        f"{SOCKETS + PATIENT} WebSockets closed with {SERVICE_RESTART}, opened anew; {len(unlucky)} texts to say again;"
        f" {report.kinds['socket-echo'].answered} came back; {counts(report)}"
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""The same deploy with containers: a real engine, a real registry, images that are built by build.yml."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import MakeSite
from tests.integration.controller import Run
from tests.integration.registry import ADDRESS, PASSWORD, USER, Registry, images_of
from tests.integration.site import Site
from tests.integration.test_revert import under_load

pytestmark = pytest.mark.long
APP = "crate"
NOBODY = f"{ADDRESS}/{APP}@sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def crate(staging_site: MakeSite) -> Site:
    """An application on a host whose engine and registry are there."""
    site = staging_site(
        APP,
        webapp_runtime="docker",
        webapp_container_memory="512m",
        **images_of(APP),
    )
    site.play("provision").ended(0)
    registry = Registry(site.host)
    registry.set_up()
    registry.make_base()
    return site


def build(site: Site, tree: Path, **settings: Any) -> str:
    """Build an image; its reference by digest."""
    output = site.directory / "image.json"
    site.play("build", webapp_image_source=str(tree), output=str(output), **settings).ended(0)
    return str(json.loads(output.read_text())["image"])


def deploy(site: Site, image: str, **settings: Any) -> Run:
    return site.play("deploy", webapp_source=image, **settings)


@pytest.fixture(scope="module")
def images(crate: Site) -> list[str]:
    """Two releases as images, of which the first is live."""
    found = [build(crate, crate.sources.tree(release=number)) for number in (1, 2)]
    deploy(crate, found[0]).ended(0)
    return found


def containers(site: Site) -> dict[str, Any]:
    """What the engine says of each container of the application."""
    names = site.host.sh(f"docker ps --format '{{{{.Names}}}}' --filter label=slipway.webapp={site.app}").split()
    return {name: json.loads(site.host.sh(f"docker inspect {name}"))[0] for name in names}


def test_its_processes_are_containers_without_rights_and_without_secrets(crate: Site, images: list[str]) -> None:
    live = crate.live()
    found = {name: told for name, told in containers(crate).items() if name.endswith(live.slot)}
    assert set(found) == {f"{APP}-{process}-{live.slot}" for process in ("web", "worker", "beat")}
    secret = crate.host.sh(f"grep -o 'SECRET_KEY=.*' /etc/{APP}/slots/{live.slot}.env").split('"')[1]
    can = json.loads(crate.host.sh("docker info --format '{{json .}}'"))  # a test host's kernel may lack some limits
    for name, told in found.items():
        host = told["HostConfig"]
        assert told["Config"]["Image"] == images[0], name
        assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"]), name
        assert host["PidsLimit"] == (512 if can["PidsLimit"] else None), name
        assert host["Memory"] == (512 << 20 if can["MemoryLimit"] else 0), name
        assert "no-new-privileges" in host["SecurityOpt"], name
        assert told["Config"]["User"].split(":")[0] not in ("", "0", "root"), name
        assert secret not in json.dumps(told), name
    assert logins(crate) == [], "the registry's password stayed on the host"


PLACES = f"/root/.docker /home /etc/{APP} /srv/{APP} /run /tmp /var/tmp"


def logins(site: Site, places: str = PLACES) -> list[str]:
    """The files on the host that hold the registry's password, as it is or as Docker's client writes it."""
    written = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return site.host.try_sh(f"grep -rlF -e '{PASSWORD}' -e '{written}' {places} 2>/dev/null")[1].split()


def test_a_login_does_not_outlive_the_build_after_one_that_was_killed(crate: Site) -> None:
    tree = crate.sources.tree(release=1)
    killed = crate.start("build", webapp_image_source=str(tree))
    began = time.monotonic()
    try:
        while not logins(crate, "/run"):
            assert time.monotonic() - began < 120
            time.sleep(0.05)
    finally:
        killed.kill()
    killed.wait()
    assert logins(crate, "/run"), "it was tidied up by somebody: the test proves nothing"
    assert logins(crate, "/tmp /var/tmp") == [], "it would survive a loss of power"
    build(crate, tree)
    assert logins(crate, "/run") == []


def test_a_second_build_of_a_repository_waits_for_the_first(
    crate: Site, images: list[str], tell: Callable[[str], None]
) -> None:
    """It is refused, without a loss for the first: neither its login nor its names, which are the same."""
    tree = crate.sources.tree(release=1)
    (tree / "Dockerfile").write_text(f"FROM {images[1]}\nRUN sleep 90 # {time.time()}\n")
    first = crate.start("build", webapp_image_source=str(tree), webapp_version="9.1")
    began = time.monotonic()
    while not logins(crate, "/run"):
        assert first.running, first.wait().output
        assert time.monotonic() - began < 120
        time.sleep(0.05)
    refused = crate.play("build", webapp_image_source=str(tree), webapp_version="9.1").refused()
    assert first.running, "it had ended: the test proves nothing"
    assert f"Another build of {ADDRESS}/{APP} is at work on this host" in refused.said
    assert "next: wait until it has ended" in refused.said
    first.wait().ended(0)
    assert logins(crate, "/run") == []
    again = crate.play("build", webapp_image_source=str(tree), webapp_version="9.1").ended(0)
    tell(f"refused after {refused.seconds:.0f} s, then built in {again.seconds:.0f} s")


def test_an_image_is_built_on_a_private_one(crate: Site, images: list[str]) -> None:
    """On one in the registry that wants a login, which the host has no longer."""
    tree = crate.sources.tree(release=1)
    base = images[1]
    crate.host.sh(f"docker image rm --force {base} >/dev/null 2>&1 || true")
    drop_cache(crate)
    (tree / "Dockerfile").write_text(f"FROM {base}\nCOPY . /app\n")
    image = build(crate, tree)
    assert image != base
    assert not has(crate, image)


def test_visitors_notice_neither_redeploy_nor_rollback(
    crate: Site, images: list[str], tell: Callable[[str], None]
) -> None:
    first = crate.live()

    def there_and_back() -> list[float]:
        forth = deploy(crate, images[1]).ended(0)
        assert crate.live().release != first.release
        return [forth.seconds, crate.play("rollback").ended(0).seconds]

    (forth, back), report = under_load(crate, there_and_back)
    assert crate.live().release == first.release
    assert report.good, report.lines()
    tell(
        f"sent={report.sent} answered={report.answered} failed={report.failed};"
        f" deploy {forth:.0f} s, rollback {back:.0f} s"
    )


def test_a_deploy_of_what_is_live_changes_nothing(crate: Site, images: list[str]) -> None:
    deploy(crate, images[0]).ended(0)
    assert deploy(crate, images[0]).ended(0).changed == 0


# Without force, so that the engine keeps what a container or another image needs. An image of a release has a name.
DROP = """
for image in $(docker image ls --all --quiet --no-trunc | sort -u); do
    names=$(docker image inspect --format '{{len .RepoTags}} {{len .RepoDigests}}' $image 2>/dev/null)
    test "$names" != '0 0' || docker image rm $image >/dev/null 2>&1
done
docker builder prune --all --force >/dev/null 2>&1 || true
"""


def drop_cache(site: Site) -> None:
    """Take away what builds would find again, so that all layers of their images have to be pulled."""
    site.host.sh(DROP)


def has(site: Site, image: str) -> bool:
    return site.host.try_sh(f"docker image inspect {image}")[0] == 0


def tags(site: Site) -> set[str]:
    """The tags that the engine has in the application's repository."""
    found = site.host.sh(f"docker image ls --format '{{{{.Tag}}}}' {ADDRESS}/{APP}").split()
    return set(found) - {"<none>"}


@pytest.fixture(scope="module")
def further(crate: Site, images: list[str]) -> list[str]:
    """Three more releases, whose images only the registry has: a build leaves none where it was made."""
    assert images
    before = tags(crate)
    found = [build(crate, crate.sources.tree(release=2), webapp_version=f"2.{number}+test") for number in range(3)]
    assert [has(crate, image) for image in found] == [False, False, False]
    assert tags(crate) <= before
    drop_cache(crate)
    return found


def registry_gone(site: Site) -> dict[str, Any]:
    Registry(site.host).stop()
    return {"webapp_source": NOBODY}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"webapp_source": NOBODY}, "the registry has no such image"),
        ({"webapp_source": NOBODY, "webapp_registry_password": "planted-wrong"}, "did not accept the login"),
        ({"webapp_source": f"{ADDRESS}/{APP}:1.0"}, "an image by its digest"),
        (registry_gone, "the registry does not answer"),
    ],
    ids=["missing digest", "wrong login", "a tag", "registry gone"],
)
def test_an_image_that_cannot_be_had(
    crate: Site, settings: dict[str, Any] | Callable[[Site], dict[str, Any]], said: str
) -> None:
    live = crate.live()
    given = settings(crate) if callable(settings) else settings
    try:
        run = crate.play("deploy", **given).refused()
    finally:
        Registry(crate.host).start()
    assert said in run.said, run.output[-4000:]
    assert crate.live() == live
    assert crate.host.look(crate.app)["lease"] is None


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("fails-at-import", (".service did not start", "this release does not boot: the fault was planted")),
        ("health-500", ("did not become healthy within 20 s", "status 500, not 200")),
    ],
)
def test_an_image_that_is_bad(crate: Site, fault: str, says: tuple[str, ...], tell: Callable[[str], None]) -> None:
    live = crate.live()
    image = build(crate, crate.sources.tree(release=2, fault=fault))
    run, report = under_load(crate, lambda: deploy(crate, image, webapp_health_deadline=20))
    assert run.refused().code == 2, run.output[-4000:]
    assert [words for words in says if words not in run.said] == [], run.output[-4000:]
    assert crate.live() == live
    assert set(containers(crate)) >= {f"{APP}-{process}-{live.slot}" for process in ("web", "worker", "beat")}
    assert report.good, report.lines()
    tell(f"sent={report.sent} answered={report.answered} failed={report.failed}; {live.release} served on")


def test_the_engine_is_restarted_under_load(crate: Site, images: list[str], tell: Callable[[str], None]) -> None:
    before = {name: told["State"]["StartedAt"] for name, told in containers(crate).items()}
    _nothing, report = under_load(crate, lambda: crate.host.sh("systemctl restart docker && sleep 5"))
    assert {name: told["State"]["StartedAt"] for name, told in containers(crate).items()} == before
    assert report.good, report.lines()
    deploy(crate, images[1]).ended(0)
    crate.live()
    tell(f"sent={report.sent} answered={report.answered} failed={report.failed}; then a deploy")


def test_an_image_for_other_machines(crate: Site, images: list[str]) -> None:
    """The registry's own copy of a good one, whose configuration names another architecture."""
    live = crate.live()
    image = Registry(crate.host).of_architecture(images[1], "s390x")
    run = deploy(crate, image).refused()
    for words in (f"{image} was built for other machines", "found: s390x", "build it for "):
        assert words in run.said, run.output[-4000:]
    assert crate.live() == live
    assert crate.host.look(crate.app)["lease"] is None
    # It had to be pulled to be looked at; the next run that ends well takes it away.
    assert has(crate, image)
    deploy(crate, images[0]).ended(0)
    assert crate.live().release != live.release
    assert [has(crate, one) for one in (image, *images)] == [False, True, True]


@pytest.mark.usefixtures("images")
def test_a_reboot_brings_back_what_was_live(crate: Site, tell: Callable[[str], None]) -> None:
    live, began = crate.live(), time.monotonic()
    crate.host.restart()
    while crate.ask_or_none("/health") is None:
        assert time.monotonic() - began < 180
        time.sleep(1)
    assert crate.live() == live
    tell(f"{live.release} answered {time.monotonic() - began:.0f} s after the reboot began")


def test_a_management_command_in_a_container(crate: Site, images: list[str], tell: Callable[[str], None]) -> None:
    live, code = crate.live(), "import os; print(os.environ['SLIPWAY_RELEASE'], 'says', 6 * 7)"
    run = crate.play("manage", command=["shell", "-c", code]).ended(0)
    assert f"{live.release} says 42" in run.said
    assert images
    for command, why in (
        (["shell", "-c", "print('before'); raise SystemExit(7)"], "ended with 7"),
        ("dbshell", "asks at a terminal"),
        ("migrate notes zero", "behind its gate"),
    ):
        assert why in crate.play("manage", command=command).refused().said
    assert once(crate) == []
    assert crate.host.look(crate.app)["lease"] is None
    tell(f"{run.seconds:.1f} s for one command")


def once(site: Site) -> list[str]:
    """The containers of single commands."""
    return site.host.sh(f"docker ps --all --quiet --filter name=^{site.app}-once-").split()


@pytest.mark.usefixtures("images")
def test_a_container_of_one_command_ends_without_whoever_waits_for_it(crate: Site, tell: Callable[[str], None]) -> None:
    working = crate.start("manage", command=["shell", "-c", "import time; time.sleep(600)"], seconds=8)
    began = time.monotonic()
    while not once(crate):
        assert time.monotonic() - began < 60
        time.sleep(0.1)
    began = time.monotonic()
    # Killed like this it tells the engine nothing.
    crate.host.sh("kill -KILL $(pgrep --full '^docker run .*-once-')")
    working.wait().refused()
    assert once(crate) != [], "the engine goes on with it"
    while once(crate):
        assert time.monotonic() - began < 60
        time.sleep(0.5)
    tell(f"it ended {time.monotonic() - began:.0f} s after its client, of 8 s that the client would have waited")


# Well on one path of one port.
SERVER = """
import http.server as h
class D(h.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == '/health' else 500)
        self.end_headers()
h.HTTPServer(('', 8123), D).serve_forever()
"""


def test_the_health_check_of_our_image(crate: Site, images: list[str]) -> None:
    """By hand, on a port; the containers of a slot have none."""
    for name, told in containers(crate).items():
        assert told["Config"]["Healthcheck"]["Test"] == ["NONE"], name
    words = "--rm --detach --name by-hand --network host --read-only --health-interval 1s"
    for more, wanted in (("--env PORT=8123", "healthy"), ("--env PORT=8124 --health-start-period 1s", "unhealthy")):
        crate.host.sh(f'docker run {words} {more} --entrypoint python {images[0]} -c "{SERVER}"')
        try:
            began, state = time.monotonic(), ""
            while state != wanted:
                state = crate.host.sh("docker inspect --format '{{.State.Health.Status}}' by-hand").strip()
                assert time.monotonic() - began < 60, state
                time.sleep(0.5)
        finally:
            crate.host.sh("docker rm --force by-hand")


def test_no_room_for_an_image(crate: Site, further: list[str], tell: Callable[[str], None]) -> None:
    """What is pulled is written below the engine's directory first; here is room for one page."""
    live, image = crate.live(), further[0]
    crate.host.sh("mkdir -p /var/lib/docker/tmp && mount -t tmpfs -o size=4k small /var/lib/docker/tmp")
    try:
        run, report = under_load(crate, lambda: deploy(crate, image))
    finally:
        crate.host.sh("umount /var/lib/docker/tmp")
    assert "the disk is full" in run.refused().said, run.output[-4000:]
    assert crate.live() == live
    assert report.good, report.lines()
    assert not has(crate, image)
    deploy(crate, image).ended(0)
    tell(f"sent={report.sent} answered={report.answered} failed={report.failed}; {live.release} served on")


# Kills the engine as soon as a file is there, and keeps it down; with live-restore its containers run on.
KILL = (
    "while ! test -e {path}; do sleep 0.02; done;"
    " systemctl stop --no-block docker.socket;"
    " systemctl kill --signal=KILL docker.service; systemctl stop docker.service"
)


@pytest.mark.parametrize(
    ("number", "path", "says"),
    [
        (1, f"/srv/{APP}/releases/*.partial", "The engine could not run "),
        (2, f"/var/lib/slipway/{APP}/pending.json", r"The engine did not (create|start) the container "),
    ],
    ids=["stage", "start"],
)
def test_the_engine_is_stopped_in_the_middle(
    crate: Site, further: list[str], number: int, path: str, says: str, tell: Callable[[str], None]
) -> None:
    live, image = crate.live(), further[number]
    crate.host.sh("systemctl reset-failed 'engine-*' 2>/dev/null || true")
    crate.host.sh(f"systemd-run --quiet --collect --unit=engine-killer sh -c '{KILL.format(path=path)}'")
    try:
        run, report = under_load(crate, lambda: deploy(crate, image, webapp_health_deadline=30))
        assert crate.host.try_sh("systemctl is-active docker.service")[1].strip() != "active", "it was not stopped"
        assert re.search(says, run.refused().said), run.output[-4000:]
        assert crate.host.live(crate.app) == live
        assert report.good, report.lines()
    finally:
        crate.host.sh(
            "systemctl stop engine-killer 2>/dev/null; systemctl reset-failed docker.service; systemctl start docker"
        )
    assert crate.live() == live
    assert crate.host.look(crate.app)["lease"] is None
    deploy(crate, image).ended(0)
    assert crate.live().release != live.release
    tell(f"sent={report.sent} answered={report.answered} failed={report.failed}; {live.release} served on")


def test_images_that_nobody_needs_are_removed(crate: Site, further: list[str]) -> None:
    deploy(crate, further[0], webapp_retain=1).ended(0)
    # As a build of a release that is here leaves it.
    crate.host.sh(f"docker tag {further[0]} {ADDRESS}/{APP}:again")
    for image in further[1:]:
        deploy(crate, image, webapp_retain=1).ended(0)
    live = crate.live()
    assert [has(crate, image) for image in further] == [False, True, True]
    assert "again" not in tags(crate)
    assert containers(crate)[f"{APP}-web-{live.slot}"]["Config"]["Image"] == further[2]
    crate.play("rollback").ended(0)
    assert containers(crate)[f"{APP}-web-{crate.live().slot}"]["Config"]["Image"] == further[1]
    assert has(crate, further[2])


def test_a_rollback_to_a_release_whose_image_is_gone(crate: Site, further: list[str]) -> None:
    for image in further[1:]:
        deploy(crate, image).ended(0)
    live = crate.live()
    other = {"blue": "green", "green": "blue"}[live.slot]
    crate.host.sh(f"systemctl stop '{APP}-*@{other}.service'; docker image rm {further[1]}")
    run = crate.play("rollback").refused()
    assert f"the engine has not its image {further[1]} any more" in run.said, run.output[-4000:]
    assert crate.live() == live
    assert crate.host.look(APP)["lease"] is None
    deploy(crate, further[1]).ended(0)
    assert (has(crate, further[1]), crate.live().slot) == (True, other)

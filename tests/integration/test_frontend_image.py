# SPDX-License-Identifier: GPL-3.0-or-later
"""A front end as an image: built by Node, pushed, its files taken out of it; and the image by itself.

Node and npm are the distribution's; the build needs no package, so that no registry of packages is asked.
"""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from tests.app import frontend as editions
from tests.integration.conftest import MakeSite
from tests.integration.controller import Run
from tests.integration.registry import ADDRESS, BASE, PASSWORD, USER, Registry
from tests.integration.site import Site
from tests.integration.test_frontend import ALONE, edition_of, kept_for_ever, parts

pytestmark = pytest.mark.long
NONE = f"{ADDRESS}/sheet@sha256:{'0' * 64}"
PACKAGE = {"name": "sheet", "version": "1.0.0"}
LOCK = {**PACKAGE, "lockfileVersion": 3, "requires": True, "packages": {"": PACKAGE}}
# Which status and which Cache-Control an address of the image by itself has.
ASK = """
import http.client, sys, time
for _tenth in range(100):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 8080)
        connection.request("GET", sys.argv[1])
        break
    except OSError:
        time.sleep(0.1)
answer = connection.getresponse()
print(answer.status, answer.getheader("Cache-Control"))
"""


@pytest.fixture(scope="module")
def sheet(staging_site: MakeSite) -> Site:
    """A host with an engine, a registry, and an image with Node and Nginx to build on."""
    site = staging_site(
        "sheet",
        **ALONE,
        webapp_runtime="docker",
        webapp_frontend_source=NONE,
        webapp_image_repository=f"{ADDRESS}/sheet",
        webapp_image_node_base=BASE,
        webapp_image_nginx_base=BASE,
        webapp_image_arguments={"COLOUR": "red"},
        webapp_image_network="host",
        webapp_registry_username=USER,
        webapp_registry_password=PASSWORD,
        # A test host may not raise limits.
        docker_host_open_files=0,
    )
    site.play("provision").ended(0)
    registry = Registry(site.host)
    registry.set_up()
    site.host.sh(
        "DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends nodejs npm curl >/dev/null"
    )
    site.host.sh(f"docker image rm --force {BASE} >/dev/null 2>&1 || true")
    registry.make_base()
    return site


def source(site: Site, edition: int, *, lock: bool = True) -> Path:
    """The source of a front end whose build copies files, and says which argument it was given."""
    place = site.directory / f"source-{edition}-{lock}"
    editions.make(edition=edition, destination=place / "public")
    package = {**PACKAGE, "private": True, "scripts": {"build": "node build.mjs"}}
    (place / "package.json").write_text(json.dumps(package))
    (place / "build.mjs").write_text(
        "import { cpSync, writeFileSync } from 'node:fs';\n"
        "cpSync('public', 'dist', { recursive: true });\n"
        "writeFileSync('dist/colour.txt', process.env.COLOUR + '\\n');\n"
    )
    if lock:
        (place / "package-lock.json").write_text(json.dumps(LOCK))
    return place


def build(site: Site, tree: Path) -> Run:
    return site.play("build", webapp_image_source=str(tree), output=str(site.directory / "image.json"))


@pytest.fixture(scope="module")
def images(sheet: Site) -> list[str]:
    """Two editions, of which the first is live."""
    found = []
    for edition in (1, 2):
        run = build(sheet, source(sheet, edition)).ended(0)
        found.append(str(json.loads((sheet.directory / "image.json").read_text())["image"]))
        assert f"-e webapp_frontend_source={found[-1]}" in run.said
    sheet.play("deploy", webapp_frontend_source=found[0]).ended(0)
    return found


def test_its_files_are_deployed(sheet: Site, images: list[str]) -> None:
    first = sheet.live()
    assert edition_of(sheet.ask("/")) == 1
    assert sheet.ask("/colour.txt").body == "red\n"
    assert sheet.play("deploy", webapp_frontend_source=images[0]).ended(0).changed == 0
    sheet.play("deploy", webapp_frontend_source=images[1]).ended(0)
    assert edition_of(sheet.ask("/any/place")) == 2
    kept_for_ever(sheet, *parts(1), *parts(2))
    sheet.play("rollback").ended(0)
    assert (sheet.live(), edition_of(sheet.ask("/"))) == (first, 1)


def test_the_image_by_itself(sheet: Site, images: list[str]) -> None:
    """Nobody is root in it, Node is not in it, it is well, and it sends the same headers."""
    Registry(sheet.host).pull(images[1])
    words = "--detach --name sheet --network host --read-only --tmpfs /tmp --health-interval 1s"
    sheet.host.sh(f"docker run {words} {images[1]}")
    try:
        told: dict[str, Any] = json.loads(sheet.host.sh("docker inspect sheet"))[0]
        assert told["Config"]["User"] == "65534:65534"
        assert told["Config"]["Labels"]["org.opencontainers.image.title"] == "sheet"
        assert sheet.host.try_sh("docker exec sheet ls /app")[0] != 0
        began = time.monotonic()
        while sheet.host.sh("docker inspect --format '{{.State.Health.Status}}' sheet").strip() != "healthy":
            assert time.monotonic() - began < 60, sheet.host.sh(
                "docker inspect --format '{{json .State.Health}}' sheet"
            )
            time.sleep(0.5)
        part = parts(2)[0]
        seen = {
            path: sheet.host.sh(f"python3 -c {shlex.quote(ASK)} {path}").strip()
            for path in ("/", "/any/place", part, "/none.js")
        }
    finally:
        print(sheet.host.try_sh("docker logs sheet")[1])
        sheet.host.sh("docker rm --force sheet")
    assert seen == {
        "/": "200 no-cache",
        "/any/place": "200 no-cache",
        part: "200 public, max-age=31536000, immutable",
        "/none.js": "404 None",
    }


def test_a_source_without_a_lock_is_not_built(sheet: Site) -> None:
    assert "lock the requirements" in build(sheet, source(sheet, 3, lock=False)).refused().said


@pytest.mark.usefixtures("images")
def test_an_image_without_such_a_directory(sheet: Site, images: list[str]) -> None:
    before = sheet.live()
    run = sheet.play(
        "deploy", webapp_frontend_source=images[1], webapp_frontend_image_path="/usr/share/nowhere"
    ).refused()
    assert "has no directory /usr/share/nowhere" in run.said
    assert sheet.live() == before

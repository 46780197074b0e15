# SPDX-License-Identifier: GPL-3.0-or-later
"""Front ends on a real host: alone, and beside a back end through canary, preview, and the end of the setting."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.app import frontend as editions
from tests.integration.conftest import MakeSite
from tests.integration.controller import Run
from tests.integration.site import Answer, Site
from tests.load import LoadGenerator, Mix, Report

pytestmark = pytest.mark.long
ALONE = {
    "webapp_server": "none",
    "webapp_source": "",
    "webapp_settings_module": "",
    "webapp_celery": "",
    "webapp_secrets": {},
    "webapp_warm_seconds": 3600,
}
TOKEN = "preview-5c3d9e2f7a11"
TOGETHER = {
    "webapp_celery": "",
    "webapp_backend_paths": ["/notes", "/slow"],
    "webapp_accept_migrations_without_backup": True,
    "webapp_preview_token": TOKEN,
    "webapp_warm_seconds": 3600,
}


def front(site: Site, edition: int) -> Path:
    place = site.directory / "front" / str(edition)
    return place if place.exists() else editions.make(edition=edition, destination=place)


def edition_of(answer: Answer) -> int:
    assert answer.status == 200, answer
    return int(answer.body.partition('name="edition" content="')[2].partition('"')[0])


def deploy(site: Site, edition: int, *arguments: str, **settings: Any) -> Run:
    """Deploy a front end, with the back end that the inventory names."""
    return site.play("deploy", *arguments, webapp_frontend_source=str(front(site, edition)), **settings)


def parts(edition: int) -> list[str]:
    return [f"/{name}" for name in editions.files(edition) if name.startswith(("assets/", "static/"))]


def kept_for_ever(site: Site, *paths: str) -> None:
    for path in paths:
        answer = site.ask(path)
        assert (answer.status, answer.headers.get("cache-control")) == (200, "public, max-age=31536000, immutable"), (
            path
        )


def under_load(site: Site, work: Callable[[], Any]) -> Report:
    """Do it while visitors load pages, keep them open and ask for their parts."""
    url = f"https://{site.hosts[site.edge].address}"
    mix = Mix(page=40, asset=60, note=0, slow=0, upload=0)
    load = LoadGenerator(url=url, host=site.domain, insecure=True, clients=8, rate=40.0, max_seconds=200, mix=mix)
    with load:
        load.wait_for(answers=40)
        work()
        load.wait_for(answers=40)
    return load.report


@pytest.fixture(scope="module")
def page(staging_site: MakeSite) -> Site:
    """A front end alone, of which the first edition is live."""
    site = staging_site("page", **ALONE)
    settings: dict[str, Any] = {"webapp_frontend_source": str(front(site, 1))}
    site.play("provision", **settings).ended(0)
    assert site.play("provision", **settings).ended(0).changed == 0
    check = deploy(site, 1, "--check").ended(0)
    assert check.changed > 0
    assert site.host.try_sh("ls /srv/page/route")[0] != 0
    deploy(site, 1).ended(0)
    return site


def test_alone_it_goes_the_way_of_every_release(page: Site, tell: Callable[[str], None]) -> None:
    first = page.live()
    assert edition_of(page.ask("/")) == 1
    assert deploy(page, 1).ended(0).changed == 0

    def there_and_back() -> None:
        deploy(page, 2).ended(0)
        assert edition_of(page.ask("/any/place")) == 2
        kept_for_ever(page, *parts(1), *parts(2))
        page.play("rollback", webapp_frontend_source=str(front(page, 1))).ended(0)

    report = under_load(page, there_and_back)
    assert page.live() == first
    assert edition_of(page.ask("/")) == 1
    kept_for_ever(page, *parts(2))
    assert report.good, report.lines()
    tell(f"sent={report.sent} answered={report.answered} failed={report.failed}")


def test_alone_it_has_one_small_process(page: Site) -> None:
    slot = page.live().slot
    units = page.host.sh("systemctl list-units --plain --no-legend 'page-*@*'").split()
    assert [word for word in units if word.endswith(".service")] == [
        f"page-web@{name}.service" for name in ("blue", "green")
    ]
    assert page.host.sh(f"systemctl show --property=User --value page-web@{slot}").strip() == "page"
    assert page.host.try_sh("ls /etc/systemd/system/page-backup*")[0] != 0
    assert page.ask("/api/x").status == 200, "a path of the application in the browser"
    assert page.ask("/x.json").status == 404


def test_alone_a_changed_configuration_goes_to_the_other_slot(page: Site) -> None:
    before = page.live()
    deploy(page, 1, webapp_environment={"COLOUR": "red"}).ended(0)
    after = page.live()
    assert (after.release, after.slot != before.slot, after.config != before.config) == (before.release, True, True)
    assert edition_of(page.ask("/")) == 1
    deploy(page, 1).ended(0)


def test_alone_it_comes_back_after_a_reboot(page: Site) -> None:
    before = page.live()
    page.host.restart()
    for _second in range(90):
        if page.ask_or_none("/health"):
            break
        page.host.sh("sleep 1")
    assert page.live() == before
    assert edition_of(page.ask("/")) == 1


def hostile(site: Site) -> str:
    place = site.directory / "hostile.tar.gz"
    with tarfile.open(place, "w:gz") as archive:
        archive.add(front(site, 1) / "index.html", "index.html")
        link = tarfile.TarInfo("secrets.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        archive.addfile(link)
    return str(place)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (lambda site: {"webapp_frontend_source": str(site.directory)}, "index.html at its top"),
        (lambda site: {"webapp_frontend_source": hostile(site)}, "because of its member 'secrets.txt'"),
        (lambda site: {"webapp_frontend_source": str(front(site, 1)), "webapp_celery": "board"}, "webapp_celery"),
        (lambda site: {"webapp_frontend_source": str(front(site, 1)), "webapp_source": "/src"}, "webapp_source"),
        (lambda _site: {"webapp_frontend_source": ""}, "webapp_frontend_source"),
    ],
)
def test_what_is_refused_before_anything_changes(
    page: Site, settings: Callable[[Site], dict[str, Any]], said: str
) -> None:
    before = page.live()
    assert said in page.play("deploy", **settings(page)).refused().said
    assert page.live() == before


@pytest.fixture(scope="module")
def both(staging_site: MakeSite) -> Site:
    """A back end with a front end; one release of each edition, of which the second is live and the first warm."""
    site = staging_site("both", **TOGETHER)
    settings: dict[str, Any] = {"webapp_source": str(site.sources.tree(release=1))}
    site.play("provision", webapp_frontend_source=str(front(site, 1)), **settings).ended(0)
    # Nginx knows of a front end before the first release that has one.
    site.play("deploy", **settings).ended(0)
    assert 'data-edition="1"' in site.ask("/").body
    assert site.ask("/nothing").status == 404
    for edition in (1, 2):
        deploy(site, edition, **settings).ended(0)
    return site


def lead(site: Site, **route: Any) -> None:
    """Change the route by hand, as a canary does."""
    given = json.dumps({"app": site.app, **route})
    words = ("-i", str(site.inventory), "all", "--become", "-m", "slipway.webapp.route", "-a", given)
    site.controller.run("ansible", *words).ended(0)


def test_files_follow_the_route(both: Site, tell: Callable[[str], None]) -> None:
    live = both.live().slot
    other = {"blue": "green", "green": "blue"}[live]
    lead(both, slot=live, preview=other)
    tester = f"X-Slipway-Preview={TOKEN}"
    assert edition_of(both.ask("/")) == 2
    assert edition_of(both.ask("/", header=[tester])) == 1
    assert edition_of(both.ask("/some/place", header=[tester])) == 1
    lead(both, weights={live: 50, other: 50})
    seen: Counter[int] = Counter()
    for number in range(40):
        who = [f"User-Agent=visitor {number}"]
        edition = edition_of(both.ask("/", header=who))
        assert edition_of(both.ask("/", header=who)) == edition, "who came to one side stays there"
        assert both.ask("/robots.txt", header=who).body == f"# edition {edition}\n"
        assert (both.ask("/slow?seconds=0", header=who).json()["slot"] == live) == (edition == 2)
        seen[edition] += 1
    assert min(seen.values()) > 5, seen
    kept_for_ever(both, *parts(1), *parts(2))
    lead(both, slot=live)
    assert edition_of(both.ask("/")) == 2
    tell(f"40 visitors at 50 %: {dict(seen)}")


def test_the_end_of_the_front_end(both: Site) -> None:
    settings: dict[str, Any] = {"webapp_source": str(both.sources.tree(release=1))}
    before = both.live().release
    both.play("deploy", **settings).ended(0)
    assert 'data-edition="1"' in both.ask("/").body, "without a front end all goes to the back end"
    both.play("rollback").ended(0)
    assert (both.live().release, edition_of(both.ask("/"))) == (before, 2)
    both.play("deploy", **settings).ended(0)
    both.play("provision", **settings).ended(0)
    assert 'data-edition="1"' in both.ask("/").body
    assert "frontend" not in both.host.sh("cat /etc/nginx/conf.d/slipway-app-both.conf")


def test_what_nobody_needs_any_more_goes(both: Site) -> None:
    settings: dict[str, Any] = {"webapp_source": str(both.sources.tree(release=2)), "webapp_retain": 1}
    both.play("deploy", **settings).ended(0)
    both.play("deploy", **{**settings, "webapp_environment": {"COLOUR": "red"}}).ended(0)
    assert both.host.sh("find /srv/both/assets -type f") == ""

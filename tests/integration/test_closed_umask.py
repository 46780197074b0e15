# SPDX-License-Identifier: GPL-3.0-or-later
"""A hardened host: what a login makes is closed to all others (login.defs, pam_umask); the application runs there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import MakeSite
from tests.integration.host import Host
from tests.integration.site import Site

pytestmark = pytest.mark.long

APP = "hardened"
PROGRAMS = "/usr/lib/slipway"
SESSIONS = "/etc/pam.d/common-session /etc/pam.d/common-session-noninteractive"
HARDEN = f"""
sed -i.open 's/^UMASK.*/UMASK 077/' /etc/login.defs
for file in {SESSIONS}; do
    cp $file $file.open
    echo 'session required pam_umask.so' >>$file
done
"""
SOFTEN = f"for file in /etc/login.defs {SESSIONS}; do mv $file.open $file; done"
# As an earlier version left it, under such a login.
CLOSE = f"chmod -R go= {PROGRAMS}/uv {PROGRAMS}/squawk && chmod 0700 /var/cache/slipway /var/cache/slipway/{APP}"


@pytest.fixture(scope="module")
def hardened(staging_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The application on it, deployed; what the collection shares between applications is installed anew."""
    site = staging_site(APP)
    # A connection that is open already was made by a login of before.
    connections = str(tmp_path_factory.mktemp("ssh"))
    own = dataclasses.replace(site.controller, settings={"ANSIBLE_SSH_CONTROL_PATH_DIR": connections})
    site = dataclasses.replace(site, controller=own)
    site.host.sh(f"rm -rf {PROGRAMS} /var/cache/slipway")
    site.host.sh(HARDEN)
    try:
        yield site
    finally:
        site.host.sh(SOFTEN)


def as_user(host: Host, user: str, script: str) -> str:
    return host.sh(f'runuser -u {user} -- sh -c "{script}"')


def closed(host: Host, release: str) -> str:
    """What the application and Nginx cannot read of what is theirs."""
    places = {
        APP: f"/srv/{APP}/releases/{release}/ /srv/{APP}/venvs {PROGRAMS}",
        "www-data": f"/srv/{APP}/static /srv/{APP}/assets",
    }
    return "".join(as_user(host, user, f"find {place} ! -readable 2>&1") for user, place in places.items())


def test_it_is_provisioned_and_deployed(hardened: Site, tell: Callable[[str], None]) -> None:
    words = ("ansible", "-i", str(hardened.inventory), hardened.environment, "-m", "ansible.builtin.command")
    assert "0077" in hardened.controller.run(*words, "-a", "sh -c umask").ended(0).output, "the host is not hardened"
    hardened.play("provision").ended(0)
    assert hardened.play("provision").ended(0).changed == 0
    hardened.deploy(hardened.sources.tree(new_lock=True))
    live = hardened.live()
    page = hardened.ask("/")
    assert page.status == 200
    file = next(word for word in page.body.split('"') if word.startswith("/static/"))
    assert hardened.ask(file).status == 200
    assert closed(hardened.host, live.release) == ""
    assert '"uv"' in hardened.host.sh(f"cat /srv/{APP}/venvs/*/slipway.json"), "it was not built by uv"
    tell(f"a page and {file}: 200")


def test_what_an_earlier_version_left_closed_is_opened(hardened: Site, tell: Callable[[str], None]) -> None:
    hardened.host.sh(CLOSE)
    assert hardened.play("provision").ended(0).changed > 0
    hardened.deploy(hardened.sources.tree(new_lock=True))
    assert closed(hardened.host, hardened.live().release) == ""
    assert '"pip"' not in hardened.host.sh(f"cat /srv/{APP}/venvs/*/slipway.json")
    assert hardened.play("provision").ended(0).changed == 0
    tell("uv, squawk and the way to the cache can be used again")


def test_what_a_command_stores_is_shown(hardened: Site) -> None:
    stores = "open('/srv/hardened/shared/media/planted.txt', 'w').write('seen')"
    hardened.play("manage", command=["shell", "-c", stores]).ended(0)
    assert hardened.ask("/media/planted.txt").body == "seen"


def test_a_frontend_is_shown(hardened: Site, tmp_path: Path) -> None:
    """Its files are served by Nginx itself, from the release."""
    (tmp_path / "assets").mkdir(parents=True)
    (tmp_path / "index.html").write_text("<p>front</p>")
    (tmp_path / "assets" / "main.0123abcd.js").write_text("front")
    given: dict[str, Any] = {"webapp_frontend_source": str(tmp_path), "webapp_backend_paths": ["/notes"]}
    hardened.play("provision", **given).ended(0)
    hardened.deploy(hardened.sources.tree(), **given)
    assert "front" in hardened.ask("/").body
    assert hardened.ask("/assets/main.0123abcd.js").status == 200

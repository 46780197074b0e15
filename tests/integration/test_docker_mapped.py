# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine that maps the users of containers to others: applications are kept out of it, all else is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.conftest import fleet_of
from tests.integration.registry import BASE, Registry, images_of
from tests.integration.site import Site, make_site
from tests.integration.test_docker import build, containers, deploy
from tests.integration.test_revert import under_load

pytestmark = pytest.mark.long
APP = "vault"
# A test host is a container itself, which hides parts of these; and a kernel lets nobody who has other users mount them
# anew, because that would show what is hidden.
REVEAL = 'awk \'$2 ~ "^/(proc|sys/firmware)/?" && $2 != "/proc" {print $2}\' /proc/mounts | xargs -r umount --lazy'


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An application on a host whose engine maps users."""
    for hosts in fleet_of("mapped"):
        site = make_site(
            app=APP,
            environment="mapped",
            directory=tmp_path_factory.mktemp(APP),
            hosts=hosts,
            edge="mapped1",
            settings={
                "webapp_environments": ["mapped"],
                "webapp_runtime": "docker",
                "docker_host_userns_remap": "default",
                **images_of(APP),
                # A build there has other users than the host, so it cannot have the host's network.
                "webapp_image_network": "",
            },
        )
        hosts["mapped1"].sh(REVEAL)
        site.play("provision").ended(0)
        registry = Registry(hosts["mapped1"])
        registry.set_up()
        registry.make_base()
        yield site


def mapping(site: Site, options: str) -> list[str]:
    """What the first user of a container is outside, as the kernel tells it: inside, outside, how many."""
    return site.host.sh(f"docker run --rm --network none {options} {BASE} head -1 /proc/self/uid_map").split()


def test_the_engine_maps_users_of_all_but_applications(vault: Site) -> None:
    assert "name=userns" in vault.host.sh("docker info --format '{{.SecurityOptions}}'")
    inside, outside, _many = mapping(vault, "")
    assert inside == "0"
    assert int(outside) >= 100_000
    assert mapping(vault, "--userns host")[1] == "0"
    assert vault.play("provision").ended(0).changed == 0


def test_redeploy_and_rollback_on_such_an_engine(vault: Site, tell: Callable[[str], None]) -> None:
    images = [build(vault, vault.sources.tree(release=number)) for number in (1, 2)]
    deploy(vault, images[0]).ended(0)
    first = vault.live()

    def there_and_back() -> None:
        deploy(vault, images[1]).ended(0)
        assert vault.live().release != first.release
        vault.play("rollback").ended(0)

    _none, report = under_load(vault, there_and_back)
    assert report.good, report.lines()
    assert vault.live().release == first.release
    live = {name: told for name, told in containers(vault).items() if name.endswith(vault.live().slot)}
    assert len(live) == 3
    assert {told["HostConfig"]["UsernsMode"] for told in live.values()} == {"host"}
    tell(f"sent={report.sent} answered={report.answered} failed={report.failed}")


def test_an_engine_in_use_is_not_changed_by_the_way(vault: Site) -> None:
    run = vault.play("provision", docker_host_userns_remap="").refused()
    assert "Another userns-remap hides all images and containers of this host" in run.said, run.output[-4000:]
    assert "docker_host_userns_switch: true" in run.said

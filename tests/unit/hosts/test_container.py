# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test host is made of."""

from __future__ import annotations

from tests.hosts import container, fleet


def test_an_engine_inside_has_volumes_that_go_with_the_host() -> None:
    host = fleet.Host(name="one", os_name="debian13", address=10, roles=())
    place = container.Place(prefix="mine", fleet="demo", network="mine", address="10.203.0.10")
    mounts = {mount["Target"]: mount for mount in container._options(host, place=place)["mounts"]}
    for path in ("/var/lib/docker", "/var/lib/containerd"):
        assert mounts[path]["Type"] == "volume"
        # One with a name would outlive the host.
        assert not mounts[path]["Source"]
    assert mounts[container.CACHE_PATH]["Source"] == container.CACHE_VOLUME

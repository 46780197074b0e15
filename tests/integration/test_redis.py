# SPDX-License-Identifier: GPL-3.0-or-later
"""The Redis of a host: somebody else's is left alone, ours keeps its data, and several applications share it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.integration.conftest import fleet_of
from tests.integration.host import Host, wait_for
from tests.integration.site import Site, make_site

pytestmark = pytest.mark.long
CONFIG, OURS = "/etc/redis/redis.conf", "/etc/redis/slipway.conf"
PASSWORD = "shared-by-both-4711"
# Somebody's Redis: how it came to be, and with which options redis-cli reaches it.
STRANGERS = {
    "password": ("echo 'requirepass theirs-0815' >>{conf}", "-a theirs-0815 --no-auth-warning"),
    "other port": ("sed -i 's/^port 6379$/port 6400/' {conf}", "-p 6400"),
    "renamed CONFIG": ("echo 'rename-command CONFIG \"\"' >>{conf}", ""),
    "a cache": ("printf 'maxmemory 50mb\\nmaxmemory-policy allkeys-lru\\n' >>{conf}", ""),
    "default settings": ("true", ""),
}


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    """A bare host with Debian 13 for this alone."""
    yield from fleet_of("demo")


@pytest.fixture(scope="module")
def sites(hosts: Mapping[str, Host], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Site]:
    """Two applications for the same host, of operators who do not know of each other."""
    return {
        app: make_site(app=app, environment="demo", directory=tmp_path_factory.mktemp(app), hosts=hosts, edge="demo1")
        for app in ("shop", "blog")
    }


@pytest.fixture(scope="module")
def package(hosts: Mapping[str, Host]) -> Host:
    """The host with the distribution's Redis, which nobody has touched."""
    host = hosts["demo1"]
    host.sh("apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server redis-tools")
    host.sh(f"test -e /root/redis.conf || cp --preserve {CONFIG} /root/redis.conf")
    return host


def afresh(host: Host) -> None:
    """As if the package had just been installed, and no application had ever been here."""
    host.sh(
        "systemctl stop redis-server; rm -rf /var/lib/redis/* /var/lib/slipway; rm -f /etc/redis/slipway.conf;"
        f" cp --preserve /root/redis.conf {CONFIG}; systemctl start redis-server"
    )


def keys(host: Host, options: str = "") -> list[str]:
    return host.sh(f"redis-cli {options} --raw keys '*' | sort").split()


def fill(host: Host, options: str = "") -> list[str]:
    """Some thousand keys, and their names."""
    host.sh(f"seq 3000 | sed 's/.*/set key& value/' | redis-cli {options} >/dev/null")
    found = keys(host, options)
    assert len(found) == 3000
    return found


def everything(host: Host) -> str:
    """What a run could have changed."""
    return host.sh(
        "find /etc /var/lib/redis /usr/lib/slipway /srv /var/lib/slipway -type f 2>/dev/null"
        " | sort | xargs stat -c '%n %a %u %s %Y'; cut -d: -f1 /etc/passwd; systemctl show -p MainPID redis-server"
    )


@pytest.mark.parametrize("name", STRANGERS)
def test_somebody_elses_redis_is_left_as_it_is(
    package: Host, sites: Mapping[str, Site], tell: Callable[[str], None], name: str
) -> None:
    change, options = STRANGERS[name]
    afresh(package)
    package.sh(f"{change.format(conf=CONFIG)}; systemctl restart redis-server")
    there = fill(package, options)
    package.sh(f"redis-cli {options} save")
    before = everything(package)
    run = sites["shop"].play("provision").refused()
    for words in ("somebody else's", "found:", "expected:", "set webapp_redis_url"):
        assert words in run.output, run.output
    assert run.changed == 0, run.output
    assert everything(package) == before
    package.sh("systemctl restart redis-server")
    assert keys(package, options) == there
    tell(f"refused in {run.seconds:.0f} s, {len(there)} keys after a restart")


def test_one_that_rests_with_data_is_not_started(package: Host, sites: Mapping[str, Site]) -> None:
    afresh(package)
    there = fill(package)
    package.sh("systemctl stop redis-server")
    before = everything(package)
    assert "it does not run" in sites["shop"].play("provision").refused().said
    assert everything(package) == before
    package.sh("systemctl start redis-server")
    assert keys(package) == there


@pytest.fixture(scope="module")
def shop(package: Host, sites: Mapping[str, Site]) -> Site:
    """The first application, provisioned on a Redis as the package brings it."""
    afresh(package)
    sites["shop"].play("provision").ended(0)
    return sites["shop"]


def test_it_comes_back_after_a_reboot_with_its_data(shop: Site) -> None:
    assert shop.play("provision").ended(0).changed == 0
    there = fill(shop.host)
    shop.host.sh("systemctl disable --now redis-server")
    run = shop.play("provision").ended(0)
    assert run.changed == 1, run.output
    shop.host.restart()
    wait_for(lambda: shop.host.try_sh("redis-cli ping")[0] == 0, seconds=30)
    assert keys(shop.host) == there
    assert shop.play("provision").ended(0).changed == 0


def unwritten(host: Host) -> list[str]:
    """As an older version left it when it was interrupted: the files ask for what the server has not written."""
    host.sh("redis-cli flushall; redis-cli config set appendonly no; rm -rf /var/lib/redis/appendonlydir")
    there = fill(host)
    host.sh("redis-cli save")
    return there


def test_what_was_interrupted_before_is_finished_without_loss(shop: Site) -> None:
    there = unwritten(shop.host)
    run = shop.play("provision").ended(0)
    assert run.changed > 0, run.output
    assert keys(shop.host) == there
    shop.host.sh("systemctl restart redis-server")
    assert keys(shop.host) == there
    assert shop.play("provision").ended(0).changed == 0


def test_nothing_is_lost_when_all_is_killed_in_the_middle(shop: Site, tell: Callable[[str], None]) -> None:
    there = unwritten(shop.host)
    # A hundredth of a second for each key: the rewrite lasts half a minute.
    shop.host.sh("redis-cli config set rdb-key-save-delay 10000")
    started = shop.start("provision")
    rewriting = "redis-cli info persistence | grep -q '^aof_rewrite_in_progress:1'"
    wait_for(lambda: shop.host.try_sh(rewriting)[0] == 0, seconds=120)
    process = shop.host.sh("systemctl show --property=MainPID --value redis-server").strip()
    time.sleep(1)
    shop.host.sh(f"kill -9 {process}")
    failed = started.wait()
    assert failed.code != 0, failed.output
    wait_for(lambda: shop.host.try_sh("redis-cli ping")[0] == 0, seconds=30)
    assert keys(shop.host) == there
    shop.play("provision").ended(0)
    shop.host.sh("systemctl restart redis-server")
    assert keys(shop.host) == there
    tell(f"{len(there)} keys after kill -9 in the middle of the rewrite, and after the next run and a restart")


def test_a_rewrite_that_cannot_be_written_changes_no_file(shop: Site) -> None:
    there = unwritten(shop.host)
    shop.host.sh("rm -rf /var/lib/redis/appendonlydir; mkdir -m 0555 /var/lib/redis/appendonlydir")
    run = shop.play("provision").refused()
    assert "expected:" in run.output, run.output
    assert f"include {OURS}" not in shop.host.sh(f"cat {CONFIG}").splitlines()
    shop.host.sh("systemctl restart redis-server")
    assert keys(shop.host) == there
    shop.host.sh("rmdir /var/lib/redis/appendonlydir")
    shop.play("provision").ended(0)
    shop.host.sh("systemctl restart redis-server")
    assert keys(shop.host) == there


def test_a_second_application_gets_numbers_of_its_own(shop: Site, sites: Mapping[str, Site]) -> None:
    blog, before = sites["blog"], everything(shop.host)
    run = blog.play("provision").refused()
    for words in ("shop has 0, 1", "webapp_redis_number may be 2, 3,", "rm /var/lib/slipway/shop/redis.json"):
        assert words in run.said, run.output
    assert everything(shop.host) == before
    network: dict[str, Any] = {
        "webapp_redis_number": 2,
        "webapp_redis_host": shop.host.address,
        "webapp_redis_password": PASSWORD,
    }
    run = blog.play("provision", **network).refused()
    assert "it asks for none, because shop" in run.said, run.output
    assert everything(shop.host) == before
    blog.play("provision", webapp_redis_number=2).ended(0)
    for site, number in ((shop, 0), (blog, 2), (shop, 0)):
        assert site.play("provision", webapp_redis_number=number).ended(0).changed == 0
    assert json.loads(shop.host.sh("cat /var/lib/slipway/blog/redis.json"))["numbers"] == [2, 3]


def manage(site: Site, command: str) -> str:
    slot = next(iter(site.host.look(site.app)["route"]))
    return site.host.sh(
        f"systemd-run --quiet --pipe --wait --uid={site.app} -p EnvironmentFile=/etc/{site.app}/slots/{slot}.env"
        f" -p WorkingDirectory=/srv/{site.app}/slots/{slot}/code"
        f" /srv/{site.app}/slots/{slot}/venv/bin/python manage.py {command}"
    ).strip()


def test_neither_takes_what_is_the_others(shop: Site, sites: Mapping[str, Site], tell: Callable[[str], None]) -> None:
    """Both have a worker, and both queues are called celery."""
    blog = sites["blog"]
    tree = shop.sources.tree(release=2)
    shop.deploy(tree)
    blog.play("provision", webapp_redis_number=2).ended(0)
    blog.deploy(tree, webapp_redis_number=2)
    batches = [(site, manage(site, "enqueue --count 40 --seconds 0")) for site in (shop, blog)]

    def ended() -> bool:
        """A worker that took a task of the other application would not find its row."""
        reports = [json.loads(manage(site, f"jobs_report --batch '{batch}'")) for site, batch in batches]
        return all(report["jobs"]["unfinished"] == 0 for report in reports)

    wait_for(ended, seconds=90)
    shop.host.sh("redis-cli -n 2 set theirs 1")
    shop.host.sh("redis-cli -n 0 flushdb")
    assert keys(shop.host, "-n 2") == ["theirs"]
    tell("40 tasks of each done by its own worker; the cache of one emptied, that of the other as it was")


def test_over_the_network_all_share_one_password(shop: Site, sites: Mapping[str, Site]) -> None:
    """And who was uninstalled is in nobody's way."""
    blog, address = sites["blog"], shop.host.address
    network: dict[str, Any] = {"webapp_redis_host": address, "webapp_redis_password": PASSWORD}
    shop.host.sh("systemctl stop 'shop-*' 'blog-*'; rm -rf /var/lib/slipway/blog")
    shop.play("provision", **network).ended(0)
    ask = f"REDISCLI_AUTH={PASSWORD} redis-cli -h {address} ping"
    assert shop.host.sh(ask).strip() == "PONG"
    assert "NOAUTH" in shop.host.sh(f"redis-cli -h {address} ping")
    assert "blog has none" in blog.play("provision", webapp_redis_number=2).refused().said
    blog.play("provision", **network, webapp_redis_number=2).ended(0)
    for site, number in ((shop, 0), (blog, 2)):
        assert site.play("provision", **network, webapp_redis_number=number).ended(0).changed == 0
    shop.host.sh("systemctl restart redis-server")
    assert shop.host.sh(ask).strip() == "PONG"
    shop.host.sh("rm -rf /var/lib/slipway/shop")
    blog.play("provision", **network, webapp_redis_number=0).ended(0)


def test_an_address_of_ipv6_is_listened_on(shop: Site) -> None:
    """Not that of the default route, which nobody has named."""
    host = shop.host
    host.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.lo.disable_ipv6=0")
    host.sh("ip -6 address replace 2001:db8::35/128 dev lo")
    network: dict[str, Any] = {"webapp_redis_host": "2001:db8::35", "webapp_redis_password": PASSWORD}
    host.sh("rm -rf /var/lib/slipway")  # both were uninstalled
    shop.play("provision", **network, webapp_address="2001:db8:0::35").ended(0)
    listens = host.sh("ss -Hltn sport = :6379")
    assert "[2001:db8::35]:6379" in listens, listens
    assert f"{host.address}:6379" not in listens, listens
    for wrong in ("2001:db8::36", "203.0.113.9", "nowhere.example"):
        run = shop.play("provision", **network, webapp_address=wrong).refused()
        assert "set redis_listen_address" in run.said, run.output
        assert run.changed == 0

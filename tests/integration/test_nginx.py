# SPDX-License-Identifier: GPL-3.0-or-later
"""Nginx with what operators write, and on hosts as they are: refused ports, quotes, a proxy, a disabled service."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.conftest import MakeSite
from tests.integration.host import Host, wait_for
from tests.integration.site import Site

PORT = 8443
LOADER, LOADED = "/usr/lib/slipway/load-nginx", "/run/slipway-nginx-loaded"
EXTRA = "/etc/nginx/conf.d/zz-planted.conf"
POLICY = r"default-src 'self' $host; report-uri /\'x"
PAGE = r"<p>We're back soon, for $5 \o/</p>"
COOKIE = "__Host-sessionid"


@contextmanager
def taken(host: Host, port: int) -> Iterator[None]:
    """Another program holds the port."""
    host.sh(f"systemd-run --quiet --unit=taken python3 -m http.server {port}")
    try:
        wait_for(lambda: host.try_sh(f"ss -Hltn 'sport = :{port}' | grep -q .")[0] == 0, seconds=10)
        yield
    finally:
        host.sh("systemctl stop taken")


def test_what_nginx_refuses_is_not_called_loaded(board: Site, tell: Callable[[str], None]) -> None:
    host = board.host
    host.sh(f"echo 'server {{ listen {PORT}; return 204; }}' >{EXTRA}")
    before, workers = host.sh(f"stat -c %Y {LOADED}"), host.sh("pgrep -P $(cat /run/nginx.pid)")
    try:
        with taken(host, PORT):
            code, said = host.try_sh(LOADER)
            assert code == 1, said
            assert "Address already in use" in said
            assert host.sh(f"stat -c %Y {LOADED}") == before
            assert host.sh("pgrep -P $(cat /run/nginx.pid)") == workers
            assert board.ask("/").status == 200, "the old configuration serves on"
        host.sh(LOADER)
        assert host.try_sh(f"test {LOADED} -nt {EXTRA}")[0] == 0
        answer = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{PORT}/').status)"
        assert host.sh(f'python3 -c "{answer}"').strip() == "204"
    finally:
        host.sh(f"rm {EXTRA} && {LOADER}")
    tell(said.splitlines()[-1])


@pytest.mark.long
def test_a_run_after_one_that_nginx_refused_is_no_better(board: Site, tell: Callable[[str], None]) -> None:
    with taken(board.host, PORT):
        for _time in range(2):
            run = board.play("provision", nginx_https_port=PORT).refused()
            assert "Address already in use" in run.said, run.output[-4000:]
    board.play("provision").ended(0)
    assert board.play("provision").ended(0).changed == 0
    assert board.ask("/").status == 200
    tell("refused twice; with the port free, the next run was well")


@pytest.mark.long
def test_what_is_written_in_settings_is_what_visitors_get(staging_site: MakeSite, tell: Callable[[str], None]) -> None:
    given: dict[str, Any] = {
        "nginx_security_headers": {"Content-Security-Policy": POLICY, "X-Frame-Options": "DENY"},
        "nginx_unavailable_page": PAGE,
        "nginx_client_cookie": COOKIE,
        "webapp_health_path": "/health?full=1",
    }
    site = staging_site("quoted", **given)
    site.play("provision").ended(0)
    site.deploy(site.sources.tree())
    page = site.ask("/")
    assert (page.status, page.headers["content-security-policy"]) == (200, POLICY)
    assert "x-slipway-release" in site.ask("/health?full=1").headers, "it did not come by the way of health checks"
    site.host.sh("touch /srv/quoted/maintenance")
    closed, health = site.ask("/", header=["Accept=text/html"]), site.ask("/health?full=1")
    site.host.sh("rm /srv/quoted/maintenance")
    assert (closed.status, closed.body.strip()) == (503, PAGE)
    assert health.status == 200, "the health path gets through"
    buckets: dict[str, set[str]] = defaultdict(set)
    for turn in range(2):
        for number in range(12):
            cookies = f"other=1; {COOKIE}=visitor-{number}; more=2"
            site.ask("/", header=[f"Cookie={cookies}", f"User-Agent=v{number}-{turn}"])
    for line in site.host.sh("tail -n 24 /var/log/nginx/quoted.access.json").splitlines():
        fields = json.loads(line)
        buckets[fields["user_agent"].partition("-")[0]].add(fields["bucket"])
    assert len(buckets) == 12
    assert all(len(found) == 1 for found in buckets.values()), buckets
    assert len({bucket for found in buckets.values() for bucket in found}) > 3, buckets
    assert site.play("provision", nginx_security_headers={"X-A": "a\nb"}).refused().said.count("of more than one line")
    tell(f"{len(buckets)} visitors, each in one bucket of several")


@pytest.mark.long
def test_a_host_with_a_proxy_and_a_service_that_is_disabled(board: Site) -> None:
    host = board.host
    host.sh("systemctl disable --quiet nginx")
    host.sh("cp /etc/environment /etc/environment.kept; cp /etc/pam.d/sudo /etc/pam.d/sudo.kept")
    host.sh("for name in http_proxy HTTP_PROXY; do echo $name=http://127.0.0.1:9 >>/etc/environment; done")
    host.sh("echo 'session required pam_env.so readenv=1' >>/etc/pam.d/sudo")
    try:
        words = ("ansible", "-i", str(board.inventory), board.environment, "-m", "ansible.builtin.command", "-a", "env")
        assert "http_proxy=http://127.0.0.1:9" in board.controller.run(*words).ended(0).output, "it has no proxy"
        run = board.play("provision").ended(0)
        assert run.changed == 1, "it is enabled, and nothing else"
        assert host.sh("systemctl is-enabled nginx").strip() == "enabled"
        assert board.play("provision").ended(0).changed == 0
        board.play("restart", only=host.name, what="nginx", accept_downtime=True).ended(0)
    finally:
        host.sh("mv /etc/environment.kept /etc/environment; mv /etc/pam.d/sudo.kept /etc/pam.d/sudo")

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test host is told about package sources, read from a machine's own configuration."""

from __future__ import annotations

from tests.hosts import machine
from tests.hosts.machine import Repository

BUNDLE = machine.BUNDLE


def test_pip_environment_wins_and_scopes_merge() -> None:
    listing = "\n".join(
        [
            "global.index-url='https://index.test/simple'",
            "global.extra-index-url='file:///opt/local https://extra.test/simple'",
            "user.timeout='15'",
            ":env:.default-timeout='180'",
        ]
    )
    found = machine.pip_settings(listing)
    assert found["index-url"] == ["https://index.test/simple"]
    assert found["extra-index-url"] == ["file:///opt/local", "https://extra.test/simple"]
    assert found["timeout"] == ["180"]


def test_pip_conf_leaves_out_what_only_this_machine_has() -> None:
    settings = {
        "index-url": ["https://index.test/simple"],
        "extra-index-url": ["file:///opt/a", "https://extra.test/simple", "/opt/b"],
        "find-links": ["/opt/wheels"],
        "cert": ["/home/me/authority.pem"],
    }
    assert machine.pip_conf(settings, authorities=False).splitlines() == [
        "[global]",
        "index-url = https://index.test/simple",
        "extra-index-url = https://extra.test/simple",
        f"cert = {BUNDLE}",
    ]


def test_a_machine_without_settings_tells_nothing() -> None:
    assert machine.pip_conf({}, authorities=False) == ""
    assert machine.uv_toml({}, environment={}, authorities=False) == ""
    assert machine.apt_reach("") == ""
    assert machine.sources(known=[], origin="Debian", suite="trixie", components="main") == (None, "")


def test_uv_follows_its_own_variables_before_those_of_pip() -> None:
    settings = {"index-url": ["https://pip.test/simple"], "trusted-host": ["pip.test"]}
    environment = {"UV_DEFAULT_INDEX": "https://uv.test/simple"}
    assert machine.uv_toml(settings, environment=environment, authorities=True).splitlines() == [
        "system-certs = true",
        'index-url = "https://uv.test/simple"',
        'allow-insecure-host = ["pip.test"]',
    ]


def test_apt_hands_on_how_to_reach_a_mirror_and_nothing_else() -> None:
    dump = "\n".join(
        [
            'Acquire::http::Proxy "http://proxy.test:3128";',
            'Acquire::http "";',
            'Acquire::Check-Valid-Until "false";',
            'Acquire::Languages "none";',
            'Acquire::GzipIndexes "true";',
            'DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";',
        ]
    )
    assert machine.apt_reach(dump).splitlines() == [
        'Acquire::http::Proxy "http://proxy.test:3128";',
        'Acquire::Check-Valid-Until "false";',
    ]


def test_sources_of_another_release_of_the_same_distribution() -> None:
    known = [
        Repository("Debian", "Debian", "http://mirror.test/debian/", "bookworm"),
        Repository("Debian", "Debian-Security", "http://mirror.test/security/", "bookworm-security"),
        Repository("Other", "Other", "http://other.test/", "stable"),
    ]
    mirror, lines = machine.sources(known=known, origin="Debian", suite="trixie", components="main")
    assert mirror == "http://mirror.test/debian/"
    assert lines.splitlines() == [
        "deb http://mirror.test/debian/ trixie-updates main",
        "deb http://mirror.test/security/ trixie-security main",
    ]

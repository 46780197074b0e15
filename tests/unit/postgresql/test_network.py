# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the server listens for an application without cutting off others, and whom it lets in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._postgresql_network import (
    covers,
    joint_list,
    plan,
    unheard,
)

CONF = "/etc/postgresql/17/main/"


@pytest.mark.parametrize(
    ("listens", "address", "covered"),
    [
        ("*", "10.0.0.5", True),
        ("*", "2001:db8::5", True),
        ("0.0.0.0", "10.0.0.5", True),
        ("0.0.0.0", "2001:db8::5", False),
        ("::", "2001:db8::5", True),
        # PostgreSQL binds it for IPv6 alone.
        ("::", "10.0.0.5", False),
        ("localhost, 10.0.0.5", "10.0.0.5", True),
        ("localhost,2001:DB8:0::5", "2001:db8::5", True),
        ("localhost", "10.0.0.5", False),
        ("", "localhost", False),
        ("10.0.0.50", "10.0.0.5", False),
    ],
)
def test_what_a_value_covers(listens: str, address: str, covered: bool) -> None:
    assert covers(listens, address) is covered
    assert unheard([address], listens) == ([] if covered else [address])


def row(file: str, setting: str, name: str = "listen_addresses") -> dict[str, str]:
    return {"file": CONF + file, "name": name, "setting": setting}


def own(app: str, setting: str) -> dict[str, str]:
    return row(f"conf.d/slipway-{app}.conf", setting, f"slipway.listen_{app}")


def joint(setting: str) -> dict[str, str]:
    return row("conf.d/slipway.conf", setting)


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([], "localhost,10.0.0.5"),
        # Who listens everywhere goes on to do so, and not because of us.
        ([row("postgresql.conf", "*")], ""),
        ([row("postgresql.conf", "0.0.0.0")], ""),
        ([row("postgresql.conf", "localhost, 10.0.0.5")], ""),
        ([row("postgresql.conf", "192.0.2.1")], "192.0.2.1,10.0.0.5"),
        ([row("postgresql.conf", "")], "10.0.0.5"),
        ([row("postgresql.conf", "*"), row("conf.d/a.conf", "192.0.2.1")], "192.0.2.1,10.0.0.5"),
        # What we have written ourselves is not what others want.
        ([own("shop", "10.0.0.5"), joint("localhost,10.0.0.5")], "localhost,10.0.0.5"),
        ([own("shop", "10.0.0.4"), joint("localhost,10.0.0.4")], "localhost,10.0.0.5"),
        ([row("postgresql.conf", "*"), joint("localhost,10.0.0.5")], ""),
        # Of other applications, as they write it now, and as they wrote it before.
        ([own("blog", "10.1.0.5"), joint("localhost,10.1.0.5")], "localhost,10.0.0.5,10.1.0.5"),
        ([row("conf.d/slipway-blog.conf", "localhost,10.1.0.5")], "localhost,10.0.0.5,10.1.0.5"),
        ([row("postgresql.conf", "*"), row("conf.d/slipway-blog.conf", "localhost,10.1.0.5")], "*"),
        ([row("conf.d/slipway-shop.conf", "localhost,10.0.0.5")], "localhost,10.0.0.5"),
        ([own("blog", "10.0.0.5"), joint("localhost,10.0.0.5")], "localhost,10.0.0.5"),
    ],
)
def test_the_list_of_all(rows: list[dict[str, str]], wanted: str) -> None:
    assert joint_list(rows, ["10.0.0.5"], app="shop") == wanted


@pytest.mark.parametrize("order", [("blog", "shop"), ("shop", "blog")])
def test_two_applications_agree_whoever_comes_last(order: tuple[str, str]) -> None:
    addresses = {"shop": "10.0.0.5", "blog": "10.1.0.5"}
    files: dict[str, dict[str, str]] = {}
    for app in (*order, *order):
        text = joint_list(sorted(files.values(), key=lambda one: one["file"]), [addresses[app]], app=app)
        files[app] = own(app, addresses[app])
        files["joint"] = joint(text)
    assert files["joint"]["setting"] == "localhost,10.0.0.5,10.1.0.5"


def test_one_host_leaves_the_list_of_others() -> None:
    assert joint_list([own("blog", "10.1.0.5"), joint("localhost,10.1.0.5")], [], app="shop") == "localhost,10.1.0.5"
    assert joint_list([own("shop", "10.1.0.5"), joint("localhost,10.1.0.5")], [], app="shop") == ""


def planned(names: Mapping[str, list[str]] | None = None, **wish: Any) -> dict[str, Any]:
    wished = {
        "app": "shop",
        "network": True,
        "listen": "",
        "address": "10.0.0.5",
        "here": ["10.0.0.5", "2001:db8::5", "fe80::1"],
        "clients": [],
        "extra": [],
        "is_client": False,
        **wish,
    }
    results = [
        {"item": name, "stdout_lines": [f"{one} {kind}" for one in found for kind in ("STREAM x", "DGRAM")]}
        for name, found in (names or {}).items()
    ]
    return plan({"files": []}, wished, results)


@pytest.mark.parametrize(
    ("wish", "names", "listens"),
    [
        ({}, {}, ["10.0.0.5"]),
        ({"address": "2001:db8::5"}, {}, ["2001:db8::5"]),
        ({"listen": "10.0.0.5", "address": "203.0.113.9"}, {}, ["10.0.0.5"]),
        ({"address": "db1"}, {"db1": ["2001:db8::5", "10.0.0.5", "192.0.2.9"]}, ["2001:db8::5", "10.0.0.5"]),
        ({"address": "db1"}, {"db1": ["127.0.1.1", "10.0.0.5"]}, ["10.0.0.5"]),
        ({"address": "db1", "network": False}, {}, []),
    ],
)
def test_where_it_listens(wish: dict[str, Any], names: dict[str, list[str]], listens: list[str]) -> None:
    found = planned(names, **wish)
    assert (found["listens"], found["problems"]) == (listens, [])


@pytest.mark.parametrize(
    ("wish", "names", "said"),
    [
        ({"address": "203.0.113.9"}, {}, "found: 203.0.113.9, and this host has 10.0.0.5"),
        ({"address": "2001:db8::9"}, {}, "found: 2001:db8::9"),
        ({"listen": "10.0.0.9"}, {}, "(postgresql_listen_address: 10.0.0.9)"),
        ({"address": "127.0.0.1"}, {}, "found: 127.0.0.1"),
        ({"address": "db1"}, {"db1": []}, "a name that this host cannot resolve"),
        ({"address": "db1"}, {"db1": ["203.0.113.9"]}, "db1 is 203.0.113.9"),
        # An installer calls the host so; it says nothing of where the others are.
        ({"address": "db1"}, {"db1": ["127.0.1.1"]}, "db1 is 127.0.1.1"),
        ({"listen": "db1"}, {"db1": ["10.0.0.5"]}, "(postgresql_listen_address: db1)"),
    ],
)
def test_where_it_cannot(wish: dict[str, Any], names: dict[str, list[str]], said: str) -> None:
    (problem,) = planned(names, **wish)["problems"]
    assert said in problem
    assert "next: set postgresql_listen_address" in problem


def test_who_may_connect() -> None:
    found = planned(
        {"app1": ["10.0.0.7", "2001:db8::7"], "probe": ["10.0.0.8", "127.0.1.1", "fe80::1%eth0"]},
        clients=["10.0.0.6", "app1", "2001:DB8::6"],
        extra=["10.2.0.0/24", "samenet", ".example.org", "probe"],
    )
    assert found["problems"] == []
    networks = ["10.2.0.0/24", "2001:db8::6/128", "2001:db8::7/128", ".example.org", "samenet"]
    assert found["access"] == sorted(["10.0.0.6/32", "10.0.0.7/32", "10.0.0.8/32", *networks])


def test_the_host_itself_comes_by_the_address_that_it_asks() -> None:
    found = planned({"db1": ["127.0.1.1", "10.0.0.5"]}, address="db1", clients=["db1"], is_client=True)
    assert (found["access"], found["problems"]) == (["10.0.0.5/32"], [])


def test_a_client_that_nobody_knows() -> None:
    (problem,) = planned({"app1": ["127.0.1.1"]}, clients=["app1"])["problems"]
    assert problem.startswith("PostgreSQL cannot let in app1")
    assert "next: set webapp_address of app1" in problem

# SPDX-License-Identifier: GPL-3.0-or-later
"""The Redis that the applications of a host share: who may use it, with which settings, and that it loses nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _redis
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._redis import Record, Wish
from ansible_collections.slipway.webapp.plugins.module_utils._redis_server import look_up
from tests.unit.fakes import Crash, Fuse
from tests.unit.redis_server.imitation import DEFAULTS, PACKAGED, Machine

HERE = ("10.0.0.6", "192.0.2.6", "2001:db8::35")
NETWORKED: dict[str, Any] = {"password": 'p"a\\ss', "listen": ("10.0.0.6",)}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def wish(app: str = "shop", **changes: Any) -> Wish:
    return Wish(app=app, addresses=HERE, **changes)


def set_up(machine: Machine, wanted: Wish | None = None, *, known: bool = True) -> list[str]:
    """What the module does; the names of the steps."""
    wanted = wanted or wish()
    layout = Layout(wanted.app, prefix=str(machine.root))
    if known:
        machine.app(wanted.app)
    server = machine.server()
    found = server.probe(layout, wanted)
    _redis.refuse(found, wanted)
    steps = _redis.plan(found, wanted)
    machine.app(wanted.app)
    for step in steps:
        server.apply(step, layout, wanted)
    return [step.name for step in steps]


def files(machine: Machine) -> dict[str, str]:
    return {str(path): path.read_text() for path in machine.root.rglob("*") if path.is_file()}


def refused(machine: Machine, wanted: Wish | None = None, *, known: bool = False) -> str:
    """The words of a refusal, which has changed nothing."""
    before, live = files(machine), dict(machine.live)
    with pytest.raises(SlipwayError) as caught:
        set_up(machine, wanted, known=known)
    assert (files(machine), machine.live, machine.told) == (before, live, [])
    assert all((caught.value.found, caught.value.expected, caught.value.next_step))
    return str(caught.value)


def test_one_of_the_package_is_taken_over_once(machine: Machine) -> None:
    assert set_up(machine) == ["claim", "append", "write", "include"]
    assert set_up(machine) == []
    assert machine.read(_redis.CONFIG) == PACKAGED + "include /etc/redis/slipway.conf\n"
    assert machine.live == {**DEFAULTS, "appendonly": "yes"}
    assert json.loads(machine.read("/var/lib/slipway/shop/redis.json")) == {"numbers": [0, 1], "listen": []}
    live = dict(machine.live)
    machine.boot()
    assert machine.live == live, "a start must bring the same settings"


def test_over_the_network_it_is_told_address_and_password_at_once(machine: Machine) -> None:
    assert set_up(machine, wish(**NETWORKED)) == ["claim", "append", "tell", "write", "include"]
    assert machine.told[-1] == ("bind", "requirepass")
    assert machine.live["requirepass"] == 'p"a\\ss'
    assert not any('p"a' in word for command in machine.ran for word in command), "a process list would show it"
    assert machine.read(_redis.SETTINGS).splitlines()[1:3] == [
        "bind 127.0.0.1 -::1 10.0.0.6",
        'requirepass "p\\"a\\\\ss"',
    ]
    assert _redis.password_in(machine.read(_redis.SETTINGS)) == 'p"a\\ss'
    assert set_up(machine, wish(**NETWORKED)) == []


def test_one_that_rests_is_started_also_at_boot(machine: Machine) -> None:
    set_up(machine)
    machine.running = machine.enabled = False
    assert set_up(machine)[0] == "start"
    assert (machine.running, machine.enabled) == (True, True)


STRANGERS: dict[str, tuple[dict[str, Any], str]] = {
    "password": ({"live": {**DEFAULTS, "requirepass": "theirs"}}, "NOAUTH"),
    "renamed": ({"renamed": True}, "ERR unknown command"),
    "other process": ({"answers_as": "7"}, "what answers on port 6379 is not redis-server.service"),
    "data": ({"keys": {"a", "b"}}, "2 keys"),
    "other settings": ({"config": PACKAGED + "maxmemory-policy allkeys-lru\n"}, "not as the package brought it"),
    "other port": ({"config": PACKAGED + "port 7000\n"}, "not as the package brought it"),
    "rests with data": ({"running": False, "dumped": "a"}, "does not run"),
    "another program": ({"unit_running": False, "process": "0"}, "is not redis-server.service"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_somebody_elses_is_left_as_it_is(machine: Machine, name: str) -> None:
    changes, said = STRANGERS[name]
    changes = dict(changes)
    machine.path(_redis.CONFIG).write_text(changes.pop("config", PACKAGED))
    if "dumped" in changes:
        machine.dump.write_text(changes.pop("dumped"))
    for attribute, value in changes.items():
        setattr(machine, attribute, value)
    words = refused(machine)
    assert said in words
    assert "set webapp_redis_url" in words


def test_ours_must_answer_too(machine: Machine) -> None:
    set_up(machine)
    machine.told.clear()
    machine.live["requirepass"] = "somebody has changed it"
    assert "cannot be asked" in refused(machine, known=True)


def test_numbers_of_another_application_are_refused_with_those_that_are_free(machine: Machine) -> None:
    set_up(machine)
    set_up(machine, wish("blog", number=3))
    machine.told.clear()
    words = refused(machine, wish("wiki"))
    assert "shop has 0, 1" in words
    assert "webapp_redis_number may be 5, 6, 7, 8, 9, 10, 11, 12, 13, 14" in words
    assert "rm /var/lib/slipway/shop/redis.json" in words
    assert "blog has 3, 4" in refused(machine, wish("wiki", number=4))
    machine.path("/var/lib/slipway/shop/redis.json").unlink()
    assert set_up(machine, wish("wiki")) == ["claim"]


def test_earlier_numbers_stay_as_a_rollback_brings_them_back(machine: Machine) -> None:
    set_up(machine)
    assert set_up(machine, wish(number=4)) == ["claim"]
    machine.told.clear()
    assert "shop has 0, 1, 4, 5" in refused(machine, wish("blog"))


def test_who_came_before_numbers_were_recorded_is_not_robbed(machine: Machine) -> None:
    """An application of an older version has the file and no record."""
    set_up(machine)
    machine.path("/var/lib/slipway/shop/redis.json").unlink()
    machine.told.clear()
    words = refused(machine, wish("blog"))
    assert "without a record of theirs: shop" in words
    assert "run provision.yml" in words
    assert set_up(machine, wish("blog", number=2), known=False) == ["claim"]
    assert set_up(machine) == ["claim"], "its own next provision records what it has"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({}, NETWORKED, "it asks for none"),
        (NETWORKED, {}, "blog has none"),
        (NETWORKED, {**NETWORKED, "password": "another"}, "blog has another one"),
    ],
)
def test_all_applications_have_one_password(
    machine: Machine, first: dict[str, Any], second: dict[str, Any], said: str
) -> None:
    set_up(machine, wish(**first))
    machine.told.clear()
    assert said in refused(machine, wish("blog", number=2, **second))


def test_one_file_serves_all_of_them(machine: Machine) -> None:
    set_up(machine, wish(**NETWORKED))
    second = wish("blog", number=2, password=NETWORKED["password"], listen=("2001:db8::35",))
    assert set_up(machine, second) == ["claim", "tell", "write"]
    assert machine.live["bind"] == "127.0.0.1 -::1 10.0.0.6 2001:db8::35"
    assert set_up(machine, wish(**NETWORKED)) == [], "provisioning one of them changes nothing for the other"
    assert set_up(machine, second) == []


def test_one_alone_may_change_its_password(machine: Machine) -> None:
    set_up(machine, wish(**NETWORKED))
    assert set_up(machine, wish(listen=("10.0.0.6",), password="a new one")) == ["tell", "write"]
    assert machine.live["requirepass"] == "a new one"


def interrupted(machine: Machine) -> None:
    """As older versions could leave it: the files ask for an append-only file that the server has not written."""
    machine.path(_redis.SETTINGS).write_text(_redis.text_of({**DEFAULTS, "appendonly": "yes"}))
    machine.path(_redis.CONFIG).write_text(_redis.with_include(PACKAGED))
    machine.keys = {"a", "b"}
    machine.save()


def test_the_imitation_loses_what_redis_loses(machine: Machine) -> None:
    interrupted(machine)
    machine.boot()
    assert machine.keys == set()


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("reboot", [True, False])
def test_keys_are_there_wherever_a_run_ends(tmp_path: Path, running: bool, reboot: bool) -> None:
    for left in range(100):
        machine = Machine(tmp_path / str(left), running=running)
        interrupted(machine)
        machine.fuse = Fuse(left)
        try:
            set_up(machine)
        except Crash:
            machine.fuse = Fuse()
            # Only what the older version has left, and nobody has begun to mend, does not survive it.
            if reboot and (_redis.INCLUDE not in machine.read(_redis.CONFIG) or machine.appended.exists()):
                machine.boot()
            set_up(machine)
            assert machine.keys == {"a", "b"}, f"cut off after {left}"
            machine.boot()
            assert machine.keys == {"a", "b"}, f"cut off after {left}, then restarted"
            assert set_up(machine) == []
        else:
            assert left > 8, "it was never cut off"
            return
    raise AssertionError("it never ends")


def test_a_rewrite_that_fails_leaves_all_as_it_was(machine: Machine) -> None:
    machine.disk_full = True
    before = machine.read(_redis.CONFIG)
    with pytest.raises(SlipwayError, match="could not write all its data"):
        set_up(machine)
    assert machine.live == DEFAULTS
    assert machine.read(_redis.CONFIG) == before
    assert not machine.path(_redis.SETTINGS).exists()


def test_a_configuration_that_redis_refuses_does_not_get_in(machine: Machine) -> None:
    machine.refuses = 'Bad directive\n>>> requirepass "planted"\nreason'
    with pytest.raises(SlipwayError) as caught:
        set_up(machine)
    assert "reason" in str(caught.value)
    assert "planted" not in str(caught.value)
    assert not machine.path(_redis.SETTINGS).exists()


def test_without_redis_check_mode_tells_what_would_be_done(machine: Machine) -> None:
    machine.path(_redis.CONFIG).unlink()
    wanted = wish()
    found = machine.server().probe(Layout("shop", prefix=str(machine.root)), wanted)
    _redis.refuse(found, wanted)
    names = [step.name for step in _redis.plan(found, wanted)]
    assert names == ["claim", "start", "append", "tell", "write", "include", "enable"]


LISTENS: list[tuple[dict[str, Any], Sequence[str]]] = [
    ({"host": "127.0.0.1"}, ()),
    ({"address": "10.0.0.6"}, ("10.0.0.6",)),
    ({"address": "2001:DB8:0::35"}, ("2001:db8::35",)),
    ({"address": "db1"}, ("10.0.0.6",)),
    ({"address": "both"}, ("192.0.2.6", "2001:db8::35")),
    ({"address": "elsewhere", "listen": "192.0.2.6"}, ("192.0.2.6",)),
]


def listening(machine: Machine, **changes: Any) -> tuple[str, ...]:
    machine.names = {"db1": ["127.0.1.1", "10.0.0.6"], "both": ["192.0.2.6", "2001:db8::35"], "self": ["127.0.1.1"]}
    given = {"host": "10.0.0.6", "address": "10.0.0.6", "listen": "", "addresses": HERE, **changes}
    return _redis.listening(resolve=lambda name: look_up(machine, name), **given)


@pytest.mark.parametrize(("changes", "expected"), LISTENS)
def test_where_it_listens(machine: Machine, changes: dict[str, Any], expected: Sequence[str]) -> None:
    assert listening(machine, **changes) == tuple(expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "203.0.113.9"},
        {"address": "2001:db8::36"},
        {"address": "nowhere"},
        {"address": "self"},
        {"listen": "db1"},
    ],
)
def test_no_address_is_guessed(machine: Machine, changes: dict[str, Any]) -> None:
    with pytest.raises(SlipwayError, match="set redis_listen_address"):
        listening(machine, **changes)


def test_an_address_that_the_host_has_lost_is_not_listened_on(machine: Machine) -> None:
    found = machine.server().probe(machine.app("shop"), wish())
    records = {"blog": Record((2, 3), ("10.9.9.9",)), "wiki": Record((4, 5), ("192.0.2.6",))}
    settings = _redis.settings_of(dataclasses.replace(found, records=records), wish(**NETWORKED))
    assert settings["bind"] == "127.0.0.1 -::1 10.0.0.6 192.0.2.6"

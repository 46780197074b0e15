# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done with Docker on a host, decided from what the host says and what the operator wishes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.filter.docker_host import docker_host_plan
from ansible_collections.slipway.webapp.plugins.module_utils import _docker_host as host
from ansible_collections.slipway.webapp.plugins.module_utils import _docker_wish as wishes

SETTINGS: dict[str, Any] = {
    "log_driver": "journald",
    "log_max_size": "50m",
    "log_max_files": 5,
    "live_restore": True,
    "no_new_privileges": True,
    "icc": False,
    "userland_proxy": False,
    "open_files": 65536,
    "publish_address": "127.0.0.1",
    "userns_remap": "",
    "registries": [],
    "certificates": {},
    "registry_mirrors": [],
    "users": [],
    "settings": {},
    "interrupt": False,
    "userns_switch": False,
}
DEBIAN = (
    "{ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock"
    " $DOCKER_OPTS ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }"
)
BARE: dict[str, Any] = {
    "dockerd": "",
    "package": "",
    "client": "",
    "client_package": "",
    "snap": False,
    "unit": "",
    "exec_start": "",
    "environment": "",
    "environment_files": {},
    "listens": "",
    "version": "",
    "active": False,
    "invocation": "",
    "newer": False,
    "file": None,
    "memory": None,
    "record": None,
    "info": "{}",
    "members": "",
    "modes": [],
    "files_limit": 0,
}
RUNS: dict[str, Any] = {
    **BARE,
    "dockerd": "/usr/sbin/dockerd",
    "package": "docker.io",
    "client": "/usr/bin/docker",
    "client_package": "docker-cli",
    "unit": "/usr/lib/systemd/system/docker.service",
    "exec_start": DEBIAN,
    "environment_files": {"/etc/default/docker": '#DOCKER_OPTS="--dns 8.8.8.8"\n'},
    "listens": "/run/docker.sock (Stream)",
    "version": "Docker version 26.1.5+dfsg1, build a72d7cd",
    "active": True,
    "invocation": "first",
    "info": json.dumps({"LiveRestoreEnabled": True, "Containers": 0, "ContainersRunning": 0, "Images": 0}),
}
OURS = wishes.document(SETTINGS, (26, 1))


def settled(**said: Any) -> dict[str, Any]:
    """An engine that runs with what we want of it."""
    record = json.dumps({"daemon": OURS, "certificates": []})
    return {**RUNS, "file": json.dumps(OURS), "record": record, **said}


def info(**said: Any) -> str:
    return json.dumps({**json.loads(RUNS["info"]), **said})


def plan(said: dict[str, Any], **settings: Any) -> host.Plan:
    return host.plan(said, {**SETTINGS, **settings})


def test_a_bare_host_is_told_what_would_be() -> None:
    made = plan(BARE)
    assert (made.problems, made.there, made.respected) == ((), False, False)
    assert json.loads(made.text)["live-restore"] is True
    assert made.restarts == made.reloads == ()


def test_a_settled_host_is_left_alone() -> None:
    said = settled()
    made = plan(said)
    assert made.problems == made.notes == made.restarts == made.reloads == made.changes == ()
    assert made.text == said["file"]


def test_a_young_engine_is_restarted_once() -> None:
    made = plan(RUNS)
    assert set(made.restarts) == set(OURS) - {"live-restore"}
    assert json.loads(made.memory) == {"invocation": "first", "document": {}}
    # The file is written, and the power goes.
    between = {**RUNS, "file": made.text, "memory": made.memory, "newer": True}
    assert plan(between).restarts == made.restarts
    assert plan(between).text == made.text
    # Restarted: another invocation, and a file older than it.
    after = {**between, "invocation": "second", "newer": False, "record": made.record}
    assert plan(after).restarts == plan(after).reloads == ()


def test_an_operators_layout_of_the_file_is_kept_where_nothing_changes() -> None:
    text = json.dumps(OURS, indent=7)
    assert plan(settled(file=text)).text == text


@pytest.mark.parametrize(
    ("settings", "reloads", "restarts"),
    [
        ({"registry_mirrors": ["https://mirror.example"]}, ["registry-mirrors"], []),
        ({"live_restore": False}, ["live-restore"], []),
        ({"settings": {"labels": ["a=b"]}}, ["labels"], []),
        ({"settings": {"debug": True}}, ["debug"], []),
        ({"log_driver": "local"}, [], ["log-driver", "log-opts"]),
        ({"settings": {"dns": ["192.0.2.1"]}}, [], ["dns"]),
        ({"publish_address": ""}, [], ["ip", "default-network-opts"]),
        ({"open_files": 0}, [], ["default-ulimits"]),
        ({"settings": {"icc": None}}, [], ["icc"]),
        # A restart takes over everything.
        ({"log_driver": "local", "registry_mirrors": ["https://m.example"]}, [], ["log-driver", "log-opts"]),
    ],
)
def test_what_is_loaded_and_what_needs_a_restart(
    settings: dict[str, Any], reloads: list[str], restarts: list[str]
) -> None:
    made = plan(settled(), **settings)
    assert made.problems == ()
    assert sorted(made.reloads) == sorted(reloads)
    assert sorted(made.restarts) == sorted(restarts)


def test_a_reload_that_was_cut_off_is_finished() -> None:
    wish = {"registry_mirrors": ["https://mirror.example"]}
    made = plan(settled(), **wish)
    between = settled(file=made.text, memory=made.memory, newer=True)
    assert plan(between, **wish).reloads == ("registry-mirrors",)
    after = settled(file=made.text, memory=made.memory_after_reload, newer=True)
    assert plan(after, **wish).reloads == plan(after, **wish).restarts == ()


def test_after_a_reload_what_still_needs_a_restart_is_not_forgotten() -> None:
    made = plan(settled(), registry_mirrors=["https://mirror.example"])
    after = settled(file=made.text, memory=made.memory_after_reload, newer=True)
    assert plan(after, registry_mirrors=["https://mirror.example"], log_driver="local").restarts


def test_a_file_that_somebody_changed_since_the_start_is_taken_over() -> None:
    made = plan(settled(newer=True))
    assert made.restarts == ("/etc/docker/daemon.json",)
    assert made.memory == ""


def test_what_others_wrote_stays_and_what_we_no_longer_want_goes() -> None:
    record = json.dumps(
        {"daemon": {**OURS, "registry-mirrors": ["https://ours.example"]}, "certificates": ["old:5000"]}
    )
    there = {**OURS, "dns": ["192.0.2.1"], "registry-mirrors": ["https://theirs.example", "https://ours.example"]}
    made = plan(settled(file=json.dumps(there), record=record))
    assert json.loads(made.text) == {**there, "registry-mirrors": ["https://theirs.example"]}
    assert made.certificates_gone == ("/etc/docker/certs.d/old:5000/ca.crt",)


@pytest.mark.parametrize("record", ["{", "[]", "", None])
def test_a_record_that_cannot_be_read_owns_nothing(record: str | None) -> None:
    assert json.loads(plan(settled(record=record, file='{"dns": ["192.0.2.1"]}')).text)["dns"] == ["192.0.2.1"]


def test_networks_of_applications_follow_from_24_on() -> None:
    assert "default-network-opts" not in wishes.document(SETTINGS, (20, 10))
    assert OURS["default-network-opts"] == {"bridge": {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}}


@pytest.mark.parametrize(
    ("wish", "limit", "given"), [(65536, 0, 65536), (65536, 20000, 20000), (4096, 20000, 4096), (0, 20000, 0)]
)
def test_open_files_are_no_more_than_the_host_can_give(wish: int, limit: int, given: int) -> None:
    found = json.loads(plan({**RUNS, "files_limit": limit}, open_files=wish).text).get("default-ulimits", {})
    assert found == ({"nofile": {"Name": "nofile", "Soft": given, "Hard": given}} if given else {})


def test_settings_of_the_operator_are_merged_and_null_leaves_a_key_alone() -> None:
    found = wishes.document(
        {**SETTINGS, "log_driver": "local", "settings": {"log-opts": {"tag": "t"}, "userland-proxy": None}}, ()
    )
    assert found["log-opts"] == {"max-size": "50m", "max-file": "5", "tag": "t"}
    assert "userland-proxy" not in found


@pytest.mark.parametrize(
    ("package", "respected"), [("docker.io", False), ("docker-ce", True), ("moby-engine", True), ("", True)]
)
def test_an_engine_of_another_origin_is_respected(package: str, respected: bool) -> None:
    assert plan({**RUNS, "package": package}).respected is respected
    assert plan(BARE).respected is False


TCP = DEBIAN.replace("-H fd://", "-H fd:// -H tcp://0.0.0.0:2375")
REFUSALS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"file": "{"}, {}, "/etc/docker/daemon.json on this host cannot be merged"),
    ({"file": '{"hosts": ["tcp://0.0.0.0:2375"]}'}, {}, "hosts in /etc/docker/daemon.json: tcp://0.0.0.0:2375"),
    ({"exec_start": TCP}, {}, "docker.service: -H tcp://0.0.0.0:2375"),
    ({"environment": "DOCKER_OPTS=-H=tcp://[::]:2375"}, {}, "docker.service: -H tcp://[::]:2375"),
    ({"environment_files": {"/f": "DOCKER_OPTS='-H tcp://[::]:1'"}}, {}, "docker.service: -H tcp://[::]:1"),
    ({"listens": "/run/docker.sock (Stream)\n[::]:2375 (Stream)"}, {}, "docker.socket: ListenStream=[::]:2375"),
    (
        {},
        {"settings": {"hosts": ["tcp://127.0.0.1:2375"]}},
        "docker_host_settings: found 'hosts: tcp://127.0.0.1:2375'",
    ),
    (
        {"file": '{"hosts": ["unix:///run/docker.sock"]}'},
        {},
        "hosts in /etc/docker/daemon.json and in the command line",
    ),
    ({"environment": '"DOCKER_OPTS=--icc=true --dns 192.0.2.1"'}, {}, "docker_host_settings: {icc: null}"),
    ({"exec_start": DEBIAN.replace("$DOCKER_OPTS", "--config-file /x")}, {}, "--config-file=/x"),
    ({"file": '{"log-opts": {"max-size": "1m"}}'}, {}, "The log driver journald does not know"),
    ({"snap": True}, {}, "Docker on this host is a snap"),
    ({"client_package": "podman-docker"}, {}, "Podman"),
    ({"unit": ""}, {}, "systemd does not start the engine"),
    ({"info": info(Swarm={"LocalNodeState": "active"})}, {}, "docker_host_live_restore: false"),
    ({"info": info(Images=3)}, {"userns_remap": "default"}, "0 containers, 0 of them running, and 3 images"),
    ({"info": info(Containers=1)}, {"userns_remap": "default"}, "docker_host_userns_switch: true"),
    (
        {"info": info(Containers=1, ContainersRunning=1)},
        {"userns_remap": "default", "userns_switch": True},
        "docker stop",
    ),
    ({"info": info(ContainersRunning=2)}, {"live_restore": False}, "2 running; without live-restore"),
    ({}, {"registry_mirrors": ["http://mirror.example"]}, "docker_host_registry_mirrors"),
    ({}, {"registries": [{"address": "https://r.example"}]}, "docker_host_registries"),
    ({}, {"registries": [{"address": "../r"}]}, "docker_host_registries"),
    (
        {},
        {"registries": [{"address": "r.example", "ca": "/ca"}], "certificates": {"/ca": "nothing"}},
        "certificates in PEM",
    ),
    ({}, {"log_driver": "none"}, "docker_host_log_driver"),
]


@pytest.mark.parametrize(("said", "settings", "words"), REFUSALS)
def test_what_cannot_end_well_is_refused(said: dict[str, Any], settings: dict[str, Any], words: str) -> None:
    problems = plan({**RUNS, **said}, **settings).problems
    assert len(problems) == 1, problems
    assert words in problems[0]


def test_a_file_with_a_private_key_is_no_certificate() -> None:
    text = "-----BEGIN CERTIFICATE-----\n-----BEGIN EC PRIVATE" + " KEY-----\n"
    registries = [{"address": "r.example:5000", "ca": "/ca"}]
    assert "private key" in plan(RUNS, registries=registries, certificates={"/ca": text}).problems[0]


@pytest.mark.parametrize("address", ["registry.example:5000", "registry", "192.0.2.1:443", "[2001:db8::1]:5000"])
def test_addresses_of_registries(address: str) -> None:
    text = "-----BEGIN CERTIFICATE-----"
    registries = [{"address": address, "ca": "/ca"}, {"address": "trusted.by.all"}]
    made = plan(RUNS, registries=registries, certificates={"/ca": text})
    assert made.problems == ()
    assert made.certificates == ({"path": f"/etc/docker/certs.d/{address}/ca.crt", "text": text + "\n"},)
    assert json.loads(made.record)["certificates"] == [address]


def test_with_a_word_of_the_operator_it_goes_on() -> None:
    busy = {**RUNS, "info": info(ContainersRunning=2)}
    assert plan(busy, live_restore=False, interrupt=True).problems == ()
    used = {**RUNS, "info": info(Images=3)}
    assert plan(used, userns_remap="default", userns_switch=True).problems == ()


def test_containers_survive_the_restart_that_teaches_the_engine_to_keep_them() -> None:
    busy = {**RUNS, "info": info(ContainersRunning=2, LiveRestoreEnabled=False)}
    assert plan(busy).live_first
    assert not plan({**RUNS, "info": info(LiveRestoreEnabled=False)}).live_first
    assert not plan({**busy, "file": json.dumps(OURS)}).live_first


@pytest.mark.parametrize(
    ("options", "wish", "refused"),
    [
        (["name=seccomp,profile=builtin"], "", False),
        (["name=seccomp,profile=builtin"], "default", True),
        (["name=userns"], "default", False),
        (["name=userns"], "", True),
    ],
)
def test_user_namespaces_of_an_engine_whose_file_is_newer(options: list[str], wish: str, refused: bool) -> None:
    said = {**RUNS, "newer": True, "file": "{}", "info": info(Images=1, SecurityOptions=options)}
    assert bool(plan(said, userns_remap=wish).problems) is refused


def test_an_engine_that_rests_is_not_asked_to_restart() -> None:
    made = plan({**RUNS, "active": False, "info": '{"Containers": 2}'})
    assert made.problems == made.restarts == made.reloads == ()
    assert plan({**RUNS, "active": False, "info": '{"Containers": 2}'}, userns_remap="default").problems


def test_what_the_benchmark_speaks_against_is_said() -> None:
    said = {"file": '{"insecure-registries": ["r:5000"], "experimental": true}', "members": "anna,deploy"}
    assert plan({**RUNS, **said}, users=["deploy"], icc=True).notes == (
        '/etc/docker/daemon.json: insecure-registries is ["r:5000"]',
        "/etc/docker/daemon.json: experimental is true",
        "/etc/docker/daemon.json: icc is true",
        "group docker, whose members are root: anna",
    )


def test_a_password_in_the_operators_file_is_not_shown() -> None:
    there = {"proxies": {"http-proxy": "http://anna:secret@proxy.example"}, "log-opts": {"max-size": "1m"}}
    made = plan({**RUNS, "file": json.dumps(there), "environment": "DOCKER_OPTS=--http-proxy=http://anna:secret@p"})
    assert made.secret
    assert "secret" in made.text
    assert "secret" not in made.shown + "".join(made.problems)
    assert not plan(RUNS).secret


def test_only_files_that_others_could_change_are_corrected() -> None:
    right = {"path": "/a", "kind": "file", "mode": 0o644, "uid": 0, "gid": 0}
    modes = [
        right,
        {**right, "path": "/b", "mode": 0o600},
        {**right, "path": "/c", "mode": 0o664},
        {**right, "path": "/d", "uid": 1000},
        {**right, "path": "/e", "kind": "certificate"},
        {**right, "path": "/f", "kind": "directory", "mode": 0o755},
    ]
    assert plan({**RUNS, "modes": modes}).modes == (
        {"path": "/c", "mode": "0644"},
        {"path": "/d", "mode": "0644"},
        {"path": "/e", "mode": "0444"},
    )


def test_the_filter_gives_plain_data() -> None:
    found = docker_host_plan(RUNS, SETTINGS)
    assert json.loads(json.dumps(found)) == found
    assert found["reloads"] == []

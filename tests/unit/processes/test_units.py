# SPDX-License-Identifier: GPL-3.0-or-later
"""The units that are rendered: what they run, how they stop, what they may do."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, Layout

TEMPLATES = Path(__file__).parents[3] / "roles" / "processes" / "templates"
LAYOUT = Layout("shop")
HARDENED = (
    "NoNewPrivileges=true",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "ProtectHome=true",
    "PrivateTmp=true",
    "PrivateDevices=true",
    "ProtectKernelTunables=true",
    "ProtectKernelModules=true",
    "ProtectKernelLogs=true",
    "ProtectControlGroups=true",
    "RestrictSUIDSGID=true",
    "LockPersonality=true",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallFilter=@system-service",
)


def render(name: str, **settings: object) -> list[str]:
    # As Ansible sets Jinja up.
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, autoescape=False
    )
    given = {
        "webapp_name": "shop",
        "webapp_runtime": "systemd",
        "webapp_server": "gunicorn",
        "webapp_stop_seconds": 60,
        "webapp_worker_drain_seconds": 300,
        "processes_start_seconds": 120,
        "processes_open_files": 65536,
        "processes_service_lines": [],
        "__webapp_roles": list(PROCESSES),
        "__webapp_in_swarm": False,
    }
    return environment.get_template(name).render({**given, **settings}).splitlines()


def value(lines: list[str], name: str) -> str:
    found = [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]
    assert len(found) == 1, f"{name} is there {len(found)} times"
    return found[0]


@pytest.mark.parametrize("process", PROCESSES)
def test_what_all_have(process: str) -> None:
    lines = render(f"{process}.service.j2")
    assert [line for line in lines if line.startswith("[")] == ["[Unit]", "[Service]", "[Install]"]
    assert set(HARDENED) <= set(lines)
    for name, expected in {
        "Type": "notify",
        "User": "shop",
        "Group": "shop",
        "KillMode": "mixed",
        "Restart": "on-failure",
        "WorkingDirectory": LAYOUT.slot_link("%i") + "/code",
        "EnvironmentFile": LAYOUT.slot_env("%i"),
        "SyslogIdentifier": f"shop-{process}-%i",
        "WantedBy": "multi-user.target",
    }.items():
        assert value(lines, name) == expected
    assert value(lines, "ExecStart").startswith(f"{LAYOUT.slot_link('%i')}/venv/bin/python -m ")
    for line in (
        "Environment=SLIPWAY_SLOT=%i",
        f"Environment=STATIC_ROOT={LAYOUT.slot_link('%i')}/static",
        f"Environment=MEDIA_ROOT={LAYOUT.media}",
        f"Environment=PYTHONPATH={LAYOUT.library}",
    ):
        assert line in lines


@pytest.mark.parametrize(("server", "module"), [("gunicorn", "gunicorn"), ("uvicorn", "slipway_uvicorn")])
def test_web(server: str, module: str) -> None:
    lines = render("web.service.j2", webapp_server=server)
    start = value(lines, "ExecStart")
    assert f"python -m {module} " in start
    assert LAYOUT.socket("%i") in start
    assert value(lines, "TimeoutStopSec") == "65", "the server's own patience ends first"
    assert value(lines, "Before") == "nginx.service", "requests come before they can be answered"
    assert value(lines, "ReadWritePaths") == f"{LAYOUT.shared} /run/shop/%i"


@pytest.mark.parametrize("runtime", ["systemd", "docker"])
def test_web_of_a_front_end_alone(runtime: str) -> None:
    """Nginx serves its files; nothing of it runs, in a container or outside."""
    lines = render("web.service.j2", webapp_server="none", webapp_runtime=runtime)
    page = f"{LAYOUT.slot_link('%i')}/frontend/index.html"
    program = f"{LAYOUT.library}/slipway_frontend.py"
    assert value(lines, "ExecStart") == f"/usr/bin/python3 {program} {LAYOUT.socket('%i')} {page}"
    assert value(lines, "WorkingDirectory") == LAYOUT.slot_link("%i"), "there is no code"
    assert value(lines, "Type") == "notify"
    assert set(HARDENED) <= set(lines)


def test_worker_and_beat() -> None:
    worker, beat = render("worker.service.j2", webapp_worker_drain_seconds=900), render("beat.service.j2")
    assert value(worker, "TimeoutStopSec") == "920", "its own deadline ends first"
    assert {"Environment=SLIPWAY_DRAIN_SECONDS=900", "Environment=SLIPWAY_STOP_SECONDS=60"} <= set(worker)
    assert value(render("worker.service.j2", webapp_worker_drain_seconds=10), "TimeoutStopSec") == "80"
    assert "--concurrency ${SLIPWAY_WORKER_CONCURRENCY}" in value(worker, "ExecStart")
    assert "--hostname %i@%%h" in value(worker, "ExecStart"), "two workers on one host need two names"
    assert f"--schedule {LAYOUT.shared}/beat/schedule" in value(beat, "ExecStart")
    for lines in (worker, beat):
        assert value(lines, "ReadWritePaths") == LAYOUT.shared


def test_defaults_stand_before_the_file_that_overrides_them() -> None:
    """systemd takes variables of an environment file over those of Environment=, so a configuration can change both."""
    lines = render("worker.service.j2")
    assert "Environment=SLIPWAY_WORKER_CONCURRENCY=2" in lines


def test_more_lines_come_last() -> None:
    lines = render("web.service.j2", processes_service_lines=["MemoryHigh=1G", "PrivateTmp=false"])
    assert lines.index("PrivateTmp=false") > lines.index("PrivateTmp=true")
    assert lines.index("PrivateTmp=false") < lines.index("[Install]")


@pytest.mark.parametrize("process", PROCESSES)
def test_in_a_container_the_same_program_runs(process: str) -> None:
    on_host, inside = (render(f"{process}.service.j2", webapp_runtime=name) for name in ("systemd", "docker"))
    python = value(on_host, "ExecStart").partition("/bin/python ")[2]
    words = f"/usr/bin/python3 {LAYOUT.container_program} run shop {process} %i python"
    assert value(inside, "ExecStart") == f"{words} {python}"
    assert value(inside, "ExecStopPost").endswith(f"gone shop {process} %i")
    for name in ("Type", "KillMode", "TimeoutStopSec", "EnvironmentFile", "Restart"):
        assert value(inside, name) == value(on_host, name)
    assert not [line for line in inside if line.startswith(("User=", "ProtectSystem="))]


def test_directories() -> None:
    lines = render("tmpfiles.conf.j2")
    for slot in ("blue", "green"):
        assert f"d /run/shop/{slot} 2750 shop www-data -" in lines
    assert any("/shared/beat " in line for line in lines)
    assert not any("/shared/beat " in line for line in render("tmpfiles.conf.j2", __webapp_roles=["web"]))
    assert not any("/run/shop/tasks " in line for line in lines)
    assert "d /run/shop/tasks 2750 shop www-data -" in render("tmpfiles.conf.j2", __webapp_in_swarm=True)


@pytest.mark.parametrize("template", sorted(path.name for path in TEMPLATES.glob("*.j2")))
def test_no_line_is_left_over(template: str) -> None:
    if template == "common.j2":
        return
    lines = render(template)
    assert lines[0] == "# Ansible managed"
    assert not [line for line in lines if "{%" in line or "{{" in line or line != line.rstrip()]

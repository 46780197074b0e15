# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that provisioning has not been through with is refused, with every piece that it lacks."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _provisioned, _tree
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, SLOTS, Layout

ROLES = Path(__file__).resolve().parents[3] / "roles"
FILES = ROLES / "processes" / "files"
UNITS = "/etc/systemd/system"


def provisioned(prefix: Path, processes: Sequence[str] = PROCESSES) -> Layout:
    """What the roles leave on a host with these processes."""
    layout = Layout("shop", prefix=str(prefix))
    for directory in _tree.wanted(layout=layout, programs=layout.library):
        os.makedirs(directory.path, exist_ok=True)
    for slot in SLOTS:
        os.makedirs(os.path.dirname(layout.socket(slot)))
    for starter in FILES.glob("slipway_*.py"):
        shutil.copy(starter, layout.library)
    shutil.copy(ROLES / "settle" / "files" / "slipway-settle", layout.library)
    os.makedirs(os.path.dirname(layout.unit_template("web")))
    Path(layout.unit_file(layout.settle_unit)).touch()
    for process in processes:
        Path(layout.unit_template(process)).touch()
    if "web" in processes:
        shutil.copy(FILES / "gunicorn.conf.py", layout.etc)
    return layout


def lacking(layout: Layout, processes: Sequence[str] = PROCESSES) -> list[str]:
    return [path.removeprefix(layout.prefix) for path in _provisioned.missing(layout, processes=processes)]


@pytest.mark.parametrize("processes", [PROCESSES, ("web",), ("worker", "beat")])
def test_a_host_that_is_ready(tmp_path: Path, processes: Sequence[str]) -> None:
    layout = provisioned(tmp_path, processes)
    assert lacking(layout, processes) == []
    _provisioned.require(layout, processes=processes, has_user=lambda _name: True)


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        (f"{UNITS}/shop-web@.service", [f"{UNITS}/shop-web@.service"]),
        ("/usr/lib/slipway", ["/usr/lib/slipway"]),
        ("/usr/lib/slipway/slipway_entry.py", ["/usr/lib/slipway/slipway_entry.py"]),
        ("/srv/shop", ["/srv/shop"]),
        ("/srv/shop/routes", ["/srv/shop/routes"]),
        ("/var/lib/slipway", ["/var/lib/slipway"]),
        ("/etc/shop", ["/etc/shop"]),
        ("/etc/shop/gunicorn.conf.py", ["/etc/shop/gunicorn.conf.py"]),
        ("/run/shop", ["/run/shop"]),
        ("/run/shop/green", ["/run/shop/green"]),
        (UNITS, [f"{UNITS}/shop-settle.service", *(f"{UNITS}/shop-{process}@.service" for process in PROCESSES)]),
        ("/usr/lib/slipway/slipway-settle", ["/usr/lib/slipway/slipway-settle"]),
    ],
)
def test_each_piece(tmp_path: Path, gone: str, named: list[str]) -> None:
    layout = provisioned(tmp_path)
    place = Path(f"{tmp_path}{gone}")
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert lacking(layout) == named


def test_a_front_end_that_nginx_was_not_told_of(tmp_path: Path) -> None:
    layout = provisioned(tmp_path)
    users: dict[str, Any] = {"has_user": lambda _name: True}
    site = Path(layout.site)
    site.parent.mkdir(parents=True)
    site.write_text("server { location / { proxy_pass http://unix:x; } }")
    with pytest.raises(SlipwayError, match=r"front end in .*slipway-app-shop\.conf"):
        _provisioned.require(layout, processes=["web"], frontend=True, **users)
    _provisioned.require(layout, processes=["worker"], frontend=True, **users)
    _provisioned.require(layout, processes=["web"], **users)
    site.write_text(f"server {{ root {layout.assets}; }}")
    _provisioned.require(layout, processes=["web"], frontend=True, **users)


@pytest.mark.parametrize(
    ("record", "number", "ready"),
    [("", 0, True), ("", 2, False), ("0, 1, 4, 5", 4, True), ("2, 3", 0, False)],
)
def test_numbers_of_redis_are_given_by_provision(tmp_path: Path, record: str, number: int, ready: bool) -> None:
    layout = provisioned(tmp_path)
    if record:
        Path(layout.redis_record).write_text(f'{{"numbers": [{record}], "listen": []}}')
    users: dict[str, Any] = {"has_user": lambda _name: True}
    with contextlib.nullcontext() if ready else pytest.raises(SlipwayError, match=f"no number {number} of Redis"):
        _provisioned.require(layout, processes=["web"], redis_number=number, **users)


def test_a_process_that_the_host_got_after_it_was_provisioned(tmp_path: Path) -> None:
    layout = provisioned(tmp_path, ("worker",))
    assert lacking(layout, ("worker", "beat")) == [f"{UNITS}/shop-beat@.service"]


def test_a_directory_on_another_disk_counts(tmp_path: Path) -> None:
    layout = provisioned(tmp_path)
    shutil.move(layout.media, tmp_path / "disk")
    os.symlink(tmp_path / "disk", layout.media)
    assert lacking(layout) == []
    (tmp_path / "disk").rmdir()
    assert lacking(layout) == ["/srv/shop/shared/media"]


def test_the_message_names_all_pieces_and_the_remedy(tmp_path: Path) -> None:
    layout = provisioned(tmp_path)
    for process in ("web", "worker"):
        Path(layout.unit_template(process)).unlink()
    with pytest.raises(SlipwayError) as caught:
        _provisioned.require(layout, processes=("web", "worker"), has_user=lambda _name: False)
    text = str(caught.value).replace(layout.prefix, "")
    assert f"found: no user shop, no {UNITS}/shop-web@.service, no {UNITS}/shop-worker@.service\n" in text
    assert "next: run provision.yml first" in text
    assert len(caught.value.details["missing"]) == 3


def test_this_machine_has_users() -> None:
    assert _provisioned.user_exists("root")
    assert not _provisioned.user_exists("nobody-of-that-name")


def test_the_starters_are_those_that_the_role_installs() -> None:
    assert sorted(path.name for path in FILES.glob("slipway_*.py")) == sorted(_provisioned.STARTERS)

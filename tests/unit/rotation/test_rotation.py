# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in rotation is what one file says; it is changed whole, tested before, and loaded whatever was interrupted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _rotation
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed

TEXT = """# Managed
upstream slipway_shop_hosts {
    least_conn;
    server 10.0.0.1:8080 max_fails=2 fail_timeout=5s; # app1
    server [fd00::2]:8080 max_fails=2 fail_timeout=5s; # app2
    server name.example:8080 max_fails=2 fail_timeout=5s; # app3
}
"""


@dataclass
class Nginx:
    """A runner that tells what it was asked; ``refuses`` fails a program."""

    refuses: str = ""
    ran: list[str] = field(default_factory=list)

    def run(self, command: Sequence[str], **_options: Any) -> Completed:
        name = os.path.basename(command[0])
        self.ran.append(name)
        return Completed(1, "", "no good") if name == self.refuses else Completed(0, "", "")


@pytest.fixture
def edge(tmp_path: Path) -> Layout:
    layout = Layout("shop", prefix=str(tmp_path))
    for path in (layout.upstream, layout.nginx_marks[0], layout.lock("rotation")):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(layout.upstream).write_text(TEXT)
    loaded(layout)
    return layout


def loaded(layout: Layout) -> None:
    """Nginx was started after the file was written."""
    mark = Path(layout.nginx_marks[0])
    mark.touch()
    later = os.stat(layout.upstream).st_ctime + 1
    os.utime(mark, (later, later))


def turn(layout: Layout, *, nginx: Nginx | None = None, **wish: Any) -> dict[str, Any]:
    return _rotation.turn(_rotation.Doer(layout=layout, runner=nginx or Nginx()), **wish)


def test_out_and_back(edge: Layout) -> None:
    nginx = Nginx()
    out = turn(edge, nginx=nginx, out=["app2"])
    assert (out["actions"], out["before"], out["out"]) == (["Take app2 out", "Load it"], [], ["app2"])
    assert nginx.ran == ["verify-nginx", "load-nginx"]
    changed = [line for line in Path(edge.upstream).read_text().splitlines() if line not in TEXT.splitlines()]
    assert changed == ["    server [fd00::2]:8080 max_fails=2 fail_timeout=5s down; # app2"]
    loaded(edge)
    assert turn(edge, out=["app2"])["changed"] is False
    assert turn(edge, back=["app2"])["actions"] == ["Put app2 back", "Load it"]
    assert Path(edge.upstream).read_text() == TEXT


def test_one_in_for_another(edge: Layout) -> None:
    turn(edge, out=["app1", "app2"])
    assert turn(edge, out=["app3"], back=["app1"])["out"] == ["app2", "app3"]


def test_check_mode(edge: Layout) -> None:
    nginx = Nginx()
    assert turn(edge, nginx=nginx, out=["app1"], check_mode=True)["out"] == ["app1"]
    assert Path(edge.upstream).read_text() == TEXT
    assert nginx.ran == []


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"out": ["app9"]}, "app9 cannot be taken out"),
        ({"back": ["app9"]}, "app9 cannot be taken out or put back"),
        ({"out": ["app1", "app2", "app3"]}, "Nobody would answer the users of shop"),
    ],
)
def test_what_is_refused(edge: Layout, wish: dict[str, Any], says: str) -> None:
    with pytest.raises(SlipwayError, match=says):
        turn(edge, **wish)
    assert Path(edge.upstream).read_text() == TEXT


def test_a_host_that_serves_itself(edge: Layout) -> None:
    os.unlink(edge.upstream)
    assert _rotation.edge(edge)["hosts"] == []
    with pytest.raises(SlipwayError, match="passes no requests of shop on"):
        turn(edge, out=["app1"])


def test_a_configuration_that_nginx_refuses_does_not_take_its_place(edge: Layout) -> None:
    with pytest.raises(SlipwayError, match="the new configuration is refused"):
        turn(edge, nginx=Nginx(refuses="verify-nginx"), out=["app1"])
    assert Path(edge.upstream).read_text() == TEXT


def test_what_was_written_and_not_loaded_is_loaded_by_the_next_run(edge: Layout) -> None:
    with pytest.raises(SlipwayError, match="Nginx did not load it"):
        turn(edge, nginx=Nginx(refuses="load-nginx"), out=["app1"])
    for mark in edge.nginx_marks:
        if os.path.exists(mark):
            os.utime(mark, (1, 1))
    nginx = Nginx()
    assert turn(edge, nginx=nginx, out=["app1"])["actions"] == ["Load it"]
    assert nginx.ran == ["load-nginx"]


def test_what_the_edge_shows(edge: Layout) -> None:
    os.makedirs(edge.home)
    page = Path(edge.maintenance)
    assert _rotation.edge(edge)["maintenance"] is False
    page.write_text("closed by ann@desk: new disks\n")
    found = _rotation.edge(edge)
    assert (found["maintenance"], found["maintenance_of_a_run"]) == (True, False)
    assert found["maintenance_words"] == "closed by ann@desk: new disks"
    page.write_text("slipway: 20261121T110500-4b1f\n")
    assert _rotation.edge(edge)["maintenance_of_a_run"] is True

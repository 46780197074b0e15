# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which web hosts an edge host passes requests to: one small file of Nginx, in which a host that is out is ``down``.

The file is the one place that says so, and it outlives reboots and provisioning. Nginx lets requests that it has begun
end where they are.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import locked, read_text, write_atomically
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Runner

SERVER = re.compile(r"^( *server [^;\n]*?)( down)?; # (\S+)$", re.MULTILINE)
_WAIT = 10.0  # seconds for the lock


@dataclass(frozen=True)
class Rotation:
    """The file's text; None where this host passes nothing on."""

    text: str | None
    loaded: bool = True

    @property
    def out(self) -> dict[str, bool]:
        """By host, in the file's order: is it out?"""
        return {match.group(3): bool(match.group(2)) for match in SERVER.finditer(self.text or "")}


def probe(layout: Layout) -> Rotation:
    """What the file says, and whether Nginx has loaded it since it was written."""
    text = read_text(layout.upstream)
    if text is None:
        return Rotation(text=None)
    written = os.stat(layout.upstream).st_ctime
    marks = [os.stat(mark).st_mtime for mark in layout.nginx_marks if os.path.exists(mark)]
    return Rotation(text=text, loaded=bool(marks) and max(marks) > written)


def rendered(text: str, out: Collection[str]) -> str:
    """The same file with exactly these hosts out."""
    return SERVER.sub(lambda line: f"{line[1]}{' down' if line[3] in out else ''}; # {line[3]}", text)


def plan(
    current: Rotation, *, layout: Layout, out: Collection[str] = (), back: Collection[str] = ()
) -> tuple[Step, ...]:
    """Take ``out`` out, put ``back`` back, and have it loaded; refused when nobody would be left."""
    if current.text is None:
        raise SlipwayError(
            f"This host passes no requests of {layout.app} on",
            found=f"no {layout.upstream}",
            expected="an edge host whose web hosts are others",
            next_step="run provision.yml; where edge hosts serve themselves, what stands before them takes a host out",
        )
    unknown = sorted({*out, *back} - set(current.out))
    if unknown:
        raise SlipwayError(
            f"{', '.join(unknown)} cannot be taken out or put back",
            found=f"it is none of the web hosts of {layout.app} here",
            expected="one of " + ", ".join(current.out),
            next_step="run provision.yml if the inventory has changed",
        )
    wanted = {host for host, away in current.out.items() if away} - set(back) | set(out)
    if wanted >= set(current.out):
        raise SlipwayError(
            f"Nobody would answer the users of {layout.app}",
            found=f"every web host would be out: {', '.join(current.out)}",
            expected="one that stays",
            next_step="put another host back first",
        )
    text = rendered(current.text, wanted)
    steps = [
        Step(
            "write",
            f"{'Take' if host in wanted else 'Put'} {host} {'out' if host in wanted else 'back'}",
            {"text": text},
        )
        for host, away in current.out.items()
        if away != (host in wanted)
    ]
    return (*steps, Step("load", "Load it")) if steps or not current.loaded else ()


@dataclass
class Doer:
    """Carries out the steps of a plan."""

    layout: Layout
    runner: Runner

    def do(self, step: Step) -> None:
        getattr(self, f"_{step.name}")(**step.data)

    def _write(self, *, text: str) -> None:
        place = self.layout.upstream
        if read_text(place) == text:
            return
        handle, candidate = tempfile.mkstemp()
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            self._need("the new configuration is refused", self.layout.nginx_checker, _below_nginx(place), candidate)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(candidate)
        write_atomically(place, text.encode())

    def _load(self) -> None:
        self._need("Nginx did not load it", self.layout.nginx_loader)

    def _need(self, what: str, *command: str) -> None:
        answer = self.runner.run(command, cwd="/", timeout=60)
        if not answer.ok:
            raise SlipwayError(
                f"{self.layout.upstream}: {what}",
                found=answer.stderr.strip() or answer.stdout.strip() or f"code {answer.code}",
                next_step="journalctl -u nginx on this host says more",
            )


def _below_nginx(path: str) -> str:
    return os.path.join(*path.split(os.sep)[-2:])


def turn(
    doer: Doer, *, out: Collection[str] = (), back: Collection[str] = (), check_mode: bool = False
) -> dict[str, Any]:
    """Take hosts out and put hosts back; a module's result."""
    layout = doer.layout
    with (
        contextlib.nullcontext() if check_mode else locked(layout.lock("rotation"), wait_seconds=_WAIT, what="rotation")
    ):
        before = probe(layout)
        steps = plan(before, layout=layout, out=out, back=back)
        actions = carry_out(steps, doer.do, check_mode=check_mode)
        text = next((step.data["text"] for step in steps if step.name == "write"), before.text or "")
        after = Rotation(text=text) if check_mode else probe(layout)
    return {
        "changed": bool(actions),
        "actions": actions,
        "before": names_out(before),
        "out": names_out(after),
        "diff": {"before": before.text, "after": text},
    }


def names_out(rotation: Rotation) -> list[str]:
    """The names of the hosts that are out."""
    return [host for host, away in rotation.out.items() if away]


def edge(layout: Layout) -> dict[str, Any]:
    """What an edge host does with requests: where they go, who is out, and the maintenance page with its words."""
    rotation = probe(layout)
    page = read_text(layout.maintenance)
    return {
        "hosts": list(rotation.out),
        "out": names_out(rotation),
        "maintenance": page is not None,
        "maintenance_words": (page or "").strip(),
        "maintenance_of_a_run": (page or "").startswith("slipway:"),
    }

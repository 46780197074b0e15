# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three states that the module ``release`` brings about: a release present, absent, or the surplus pruned.

One build or pruning at a time for each application: whoever comes second waits, looks again, and finds it done.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _installed, _ledger, _pulled, _static
from ansible_collections.slipway.webapp.plugins.module_utils import _release as model
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import locked, read_json, read_text
from ansible_collections.slipway.webapp.plugins.module_utils._image_room import drop_images
from ansible_collections.slipway.webapp.plugins.module_utils._installed import RECORD
from ansible_collections.slipway.webapp.plugins.module_utils._layout import CONFIG_PATTERN, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Engine
from ansible_collections.slipway.webapp.plugins.module_utils._release_build import (
    Builder,
    Ports,
    remove_tree,
    set_aside,
)
from ansible_collections.slipway.webapp.plugins.module_utils._release_frontend import FrontendBuilder
from ansible_collections.slipway.webapp.plugins.module_utils._release_image import ImageBuilder
from ansible_collections.slipway.webapp.plugins.module_utils._requirements import PROBE, Interpreter, read_interpreter
from ansible_collections.slipway.webapp.plugins.module_utils._retention import (
    Kept,
    Pair,
    Stock,
    Surplus,
    names_in,
    surplus,
)

MEGABYTE = 1 << 20
FIRST_VENV = 300 * MEGABYTE  # a middling project's environment, with what its installation needs for a while
NEXT_VENV = 200 * MEGABYTE  # most builds share one; a new one finds its downloads cached


def present(layout: Layout, wish: model.Wish, ports: Ports, *, check_mode: bool = False) -> dict[str, Any]:
    """Make a release complete. When the answer says ``needs_artifact`` nothing was done: bring it, and ask again."""
    before = model.probe(layout, wish, ports.engine)
    steps = model.plan(before, wish)
    if not steps:
        return _result(before.installed, before.installed, [])
    if model.needs_artifact(steps, wish) and not check_mode:
        return {**_result(before.installed, before.installed, []), "needs_artifact": True}
    interpreter = _require(layout, wish, ports, steps)
    if check_mode:
        return _result(before.installed, None, [step.summary for step in steps], wish=wish)
    with locked(layout.lock("build"), wait_seconds=wish.timeout, what=f"a build of {layout.app}"):
        steps = model.plan(model.probe(layout, wish, ports.engine), wish)
        builder = _builder(wish)(layout, wish, ports, interpreter)
        _build(layout, builder, steps)
    done = [builder.done.get(step.name, step.summary) for step in steps]
    after = _installed.read_installed(layout, wish.release)
    return {**_result(before.installed, after, done), "checks": list(builder.checks)}


def _builder(wish: model.Wish) -> type[Builder]:
    if wish.alone:
        return FrontendBuilder
    return ImageBuilder if wish.image else Builder


def _build(layout: Layout, builder: Builder, steps: Sequence[Step]) -> None:
    doing = ""
    try:
        for step in steps:
            doing = step.summary
            builder.do(step)
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove_tree(layout.partial(builder.wish.release))
        if isinstance(error, OSError):
            raise _explained(layout, doing, error) from error
        if isinstance(error, SlipwayError) and os.strerror(errno.ENOSPC) in error.found:
            error.next_step = _make_room(layout)
        raise


def _explained(layout: Layout, doing: str, error: OSError) -> SlipwayError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return SlipwayError(
        f"This host could not {doing}",
        found=f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""),
        next_step=_make_room(layout) if full else "mend that, then run the same command again; nothing half-made stays",
    )


def _make_room(layout: Layout) -> str:
    free = f"{_free(layout) // MEGABYTE} MB are free at {layout.home} now that what was half made is removed"
    return f"make room on this host ({free}), then run the same command again"


def _existing(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _free(layout: Layout) -> int:
    status = os.statvfs(_existing(layout.home))
    return status.f_bavail * status.f_frsize


def _require(layout: Layout, wish: model.Wish, ports: Ports, steps: Sequence[Step]) -> Interpreter | None:
    """Refuse before anything is changed what could only fail later: disk, rights, Python."""
    names = {step.name for step in steps}
    for path in (layout.artifacts, layout.releases, layout.venvs, layout.static, layout.assets, layout.state):
        if not os.access(_existing(path), os.W_OK):
            raise SlipwayError(
                f"{path} cannot be written",
                found=f"{_existing(path)} is on a read-only filesystem, or this user may not write there",
                next_step="mend it on this host, then run the same command again",
            )
    if names & {"unpack", "pull", "frontend"}:
        _require_room(layout, wish)
    return _interpreter(wish, ports) if "environment" in names else None


def _interpreter(wish: model.Wish, ports: Ports) -> Interpreter:
    if os.path.realpath(wish.python) == os.path.realpath(sys.executable):  # the one that runs this: no need to ask
        return read_interpreter(wish.python, f"{sys.version_info[0]} {sys.version_info[1]} {platform.machine()}")
    answer = ports.runner.run([wish.python, "-I", "-c", PROBE], timeout=30)
    if not answer.ok:
        raise SlipwayError(
            f"{wish.python} does not run on this host",
            found=answer.stderr.strip()[-500:] or f"exit code {answer.code}",
            expected="an interpreter, Python 3.9 or newer",
            next_step="run provision.yml for this host, or correct webapp_python",
        )
    return read_interpreter(wish.python, answer.stdout)


def _require_room(layout: Layout, wish: model.Wish) -> None:
    size = 0 if wish.alone else _size(wish.size, wish.upload, layout.artifact(wish.sha256))
    if wish.frontend:
        size += _size(wish.frontend.size, wish.frontend.upload, layout.artifact(wish.frontend.sha256))
    venv = NEXT_VENV if _names(layout.venvs) else FIRST_VENV
    needed = 3 * size + (0 if wish.alone else venv)
    free = _free(layout)
    if free < needed:
        raise SlipwayError(
            f"There is not enough room for release {wish.release} at {layout.home}",
            found=f"{free // MEGABYTE} MB free",
            expected=f"{needed // MEGABYTE + 1} MB",
            next_step="make room on this host; `webapp_retain` says how many releases stay",
        )


def _size(said: int, *places: str) -> int:
    """The size of an artifact in bytes, wherever it is by now."""
    return next((os.path.getsize(path) for path in reversed(places) if path and os.path.exists(path)), said)


def _result(
    before: _installed.Installed | None,
    after: _installed.Installed | None,
    done: list[str],
    *,
    wish: model.Wish | None = None,
) -> dict[str, Any]:
    shown = _installed.describe(after)
    if wish is not None:  # check mode: what the release would be, as far as it can be known
        shown = {"id": wish.release, "version": wish.version, "sha256": wish.sha256, "complete": True}
    return {
        "changed": bool(done),
        "actions": done,
        "release": shown,
        "needs_artifact": False,
        "checks": [],
        "diff": {"before": _text(_installed.describe(before)), "after": _text(shown)},
    }


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n" if value else ""


def absent(layout: Layout, release: str, *, check_mode: bool = False, timeout: float = 900.0) -> dict[str, Any]:
    """Remove one release. What a slot is assigned to is refused."""
    slots = [slot for slot, assigned in _installed.assigned(layout).items() if assigned == release]
    there = _installed.read_installed(layout, release)
    if slots and there:
        raise SlipwayError(
            f"Release {release} is in use",
            found=f"slot {' and slot '.join(slots)} is assigned to it",
            next_step="deploy another release first",
        )
    partial = os.path.lexists(layout.partial(release))
    steps = [Step("remove", f"remove release {release}")] if there or partial else []

    def remove(_step: Step) -> None:
        with locked(layout.lock("build"), wait_seconds=timeout, what=f"a build of {layout.app}"):
            if os.path.isdir(layout.release(release)):
                if there and there.record and there.record.image:  # goes when the surplus is pruned
                    _pulled.note(layout, [there.record.image])
                set_aside(layout, release)
            remove_tree(layout.partial(release))

    done = carry_out(steps, remove, check_mode=check_mode)
    return _result(there, None, done)


def _names(path: str, *, ending: str = "") -> tuple[str, ...]:
    try:
        found = os.listdir(path)
    except FileNotFoundError:
        return ()
    return tuple(sorted(name[: len(name) - len(ending)] for name in found if name.endswith(ending)))


def take_stock(layout: Layout, *, keep: Sequence[str] = ()) -> Stock:
    """What retention decides about. A file that is not understood is never in here, so it is never removed."""
    proven = _ledger.proven(_ledger.read(layout))
    pending = names_in(read_json(layout.pending)) | frozenset(keep)
    return Stock(
        releases=tuple(
            Kept(
                id=one.id,
                complete=one.complete,
                sha256=one.record.sha256 if one.record else "",
                lock_hash=one.record.lock_hash if one.record else "",
                image=one.record.image if one.record else "",
                frontend=one.record.frontend if one.record else "",
            )
            for one in _installed.installed(layout, needed=pending)
        ),
        partials=_installed.partials(layout),
        venvs=tuple(name for name in _names(layout.venvs) if re.fullmatch(r"[0-9a-f]{16}", name)),
        artifacts=tuple(name for name in _names(layout.artifacts, ending=".tar.gz") if not name.startswith(".")),
        configs=tuple(name for name in _names(layout.configs, ending=".env") if re.fullmatch(CONFIG_PATTERN, name)),
        assigned=tuple(
            Pair(release, _config_of(layout, slot)) for slot, release in sorted(_installed.assigned(layout).items())
        ),
        proven=tuple(Pair(str(one["release"]), str(one.get("config") or "")) for one in proven),
        pending=pending,
        pulled=_pulled.noted(layout),
    )


def _config_of(layout: Layout, slot: str) -> str:
    """The id of the slot's configuration; '' where its file does not tell."""
    try:
        text = read_text(layout.slot_env(slot)) or ""
    except SlipwayError:
        return ""
    found = re.search(rf'^SLIPWAY_CONFIG="?({CONFIG_PATTERN})"?$', text, re.MULTILINE)
    return found.group(1) if found else ""


@dataclass(frozen=True)
class _Roof:
    """What one union must lose or show instead; ``places`` are the directories of the releases."""

    union: str
    tidying: _static.Tidying
    places: dict[str, str]

    def steps(self, going: Surplus) -> list[Step]:
        what = {"roof": self}
        if self.tidying.remove:
            return [Step("static", f"remove {len(self.tidying.remove)} static files that no release needs", what)]
        if self.tidying.replace and going.releases:
            return [Step("static", "show the newest retained static files", what)]
        return []


def _roofs(layout: Layout, stock: Stock, going: Surplus) -> list[_Roof]:
    parts: dict[str, dict[str, str]] = {union: {} for _part, union in model.unions("", layout)}
    for one in stock.releases:
        for part, union in model.unions(layout.release(one.id), layout):
            parts[union][one.id] = part
    return [_roof(union, places, going) for union, places in parts.items()]


def _roof(union: str, places: dict[str, str], going: Surplus) -> _Roof:
    has = {release: tuple(_static.names(place)) for release, place in places.items()}
    kept = {release: names for release, names in has.items() if release not in going.releases}
    lost = {release: names for release, names in has.items() if release in going.releases}
    return _Roof(union, _static.tidy_plan(tuple(_static.names(union)), kept=kept, lost=lost), places)


def _prune_steps(going: Surplus) -> list[Step]:
    steps = []
    for kind, names in (
        ("release", going.releases),
        ("partial", going.partials),
        ("venv", going.venvs),
        ("artifact", going.artifacts),
        ("config", going.configs),
    ):
        said = {"partial": "unfinished build", "venv": "environment", "config": "configuration"}.get(kind, kind)
        steps += [Step(kind, f"remove {said} {name}", {"name": name}) for name in names]
    return steps


def _take_names(layout: Layout, going: Surplus) -> None:
    """Set releases aside, and write down the images that they will not tell of any more."""
    _pulled.note(layout, going.images)
    set_aside(layout, *going.releases)


def _remove(layout: Layout, step: Step) -> None:
    """One thing that nobody needs any more."""
    name = str(step.data["name"])
    if step.name in ("release", "partial"):
        remove_tree(layout.partial(name))
    elif step.name == "venv":
        remove_tree(layout.venv(name))
    else:
        os.unlink(layout.artifact(name) if step.name == "artifact" else layout.config_env(name))


def _warnings(layout: Layout, going: Surplus) -> list[str]:
    """What keeps others from going, for as long as it does."""
    return [
        f"Nobody knows what release {release} on {os.uname().nodename} is made of, and it is needed: its {RECORD} is"
        " damaged or gone. So no environment, artifact or image is removed there. next: deploy another release, then"
        " the next one after it cleans up"
        for release in going.untold
    ] + _pulled.warnings(layout)


def pruned(
    layout: Layout,
    *,
    retain: int,
    keep: Sequence[str] = (),
    engine: Engine | None = None,
    check_mode: bool = False,
    timeout: float = 900.0,
) -> dict[str, Any]:
    """Remove what nobody needs any more. Images need an ``engine``. ``keep``: releases that another host needs here."""
    with contextlib.ExitStack() as stack:
        if not check_mode:  # a build that runs must not lose its partial directory or its environment
            stack.enter_context(locked(layout.lock("build"), wait_seconds=timeout, what=f"a build of {layout.app}"))
        done = _pulled.mended(layout, check_mode=check_mode)
        stock = take_stock(layout, keep=keep)
        going = surplus(stock, retain=retain)
        tidyings = [step for roof in _roofs(layout, stock, going) for step in roof.steps(going)]

        def tidy(step: Step) -> None:
            roof: _Roof = step.data["roof"]
            _static.tidy(roof.union, roof.tidying, static_of=roof.places)

        # Static files first: what the tidying shows instead depends on which releases there are.
        done += carry_out(tidyings, tidy, check_mode=check_mode)
        if going.releases and not check_mode:
            _take_names(layout, going)
        done += carry_out(_prune_steps(going), lambda step: _remove(layout, step), check_mode=check_mode)
        done += drop_images(layout, engine, going.images, check_mode=check_mode)
    return {**_retained(stock, going, done), "warnings": _warnings(layout, going)}


def _retained(stock: Stock, going: Surplus, done: list[str]) -> dict[str, Any]:
    before = [release.id for release in stock.releases]
    staying = [release for release in before if release not in going.releases]
    return {
        "changed": bool(done),
        "actions": done,
        "retained": staying,
        "needs_artifact": False,
        "checks": [],
        "release": None,
        "diff": {"before": _text(before), "after": _text(staying)},
    }

# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images the engine of this host may have for an application: written down before they are pulled.

No release tells of an image whose release was never finished, or is gone already. So its reference stays here until the
engine has been seen without it. Whoever writes holds the lock ``build``.

It only helps to clean up: a damaged list stops nobody. It is put aside, and nothing is removed because of what it says.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import (
    ensure_directory,
    fsync_directory,
    read_json,
    write_atomically,
)
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out
from ansible_collections.slipway.webapp.plugins.module_utils._source import digest_of

_ASIDE = ".damaged-"  # and a number: between the names of the list and of one that was put aside


def noted(layout: Layout) -> tuple[str, ...]:
    """The references, the oldest first; none where the list is damaged."""
    return _read(layout) or ()


def note(layout: Layout, images: Iterable[str]) -> None:
    """Write images down, durably, before anything is done with them."""
    before = _usable(layout)
    _write(layout, before, tuple(dict.fromkeys((*before, *images))))


def forget(layout: Layout, images: Iterable[str]) -> None:
    """Images that the engine does not have any more."""
    gone, before = set(images), _usable(layout)
    _write(layout, before, tuple(one for one in before if one not in gone))


def mended(layout: Layout, *, check_mode: bool = False) -> list[str]:
    """Put a damaged list aside; what was done, or would be in check mode."""
    damaged = _read(layout) is None
    steps = [Step("aside", f"put {layout.pulled} aside, which is damaged")] if damaged else []
    return carry_out(steps, lambda _step: _put_aside(layout), check_mode=check_mode)


def warnings(layout: Layout) -> list[str]:
    """What to say as long as there are lists that were put aside: they wait for somebody who looks at them."""
    kept = sorted(glob.glob(f"{glob.escape(layout.pulled)}{_ASIDE}*"))
    return [
        f"{path} on {os.uname().nodename} is a damaged list of pulled images, put aside. Images that it alone tells of"
        f" stay there. next: docker image ls --digests shows what there is, {layout.releases}/*/release.json what is"
        " needed; remove the rest by docker image rm, then this file"
        for path in kept
    ]


def _read(layout: Layout) -> tuple[str, ...] | None:
    """The references; None where the list is damaged, be it by one entry that is no image by its digest."""
    if not os.path.exists(layout.pulled):
        return ()
    try:
        value = read_json(layout.pulled)
    except SlipwayError:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) and digest_of(one) for one in value):
        return None
    return tuple(value)


def _usable(layout: Layout) -> tuple[str, ...]:
    mended(layout)
    return noted(layout)


def _put_aside(layout: Layout) -> None:
    number = 1
    while os.path.lexists(f"{layout.pulled}{_ASIDE}{number}"):
        number += 1
    os.rename(layout.pulled, f"{layout.pulled}{_ASIDE}{number}")
    fsync_directory(layout.state)


def _write(layout: Layout, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    if after != before:
        ensure_directory(layout.state)
        write_atomically(layout.pulled, (json.dumps(after, indent=2) + "\n").encode())

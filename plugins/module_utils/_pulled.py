# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images the engine of this host may have for an application: written down before they are pulled.

No release tells of an image whose release was never finished, or is gone already. So its reference stays here until the
engine has been seen without it. Whoever writes holds the lock ``build``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import ensure_directory, read_json, write_atomically
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


def noted(layout: Layout) -> tuple[str, ...]:
    """The references, the oldest first."""
    value = read_json(layout.pulled)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise SlipwayError(
            f"{layout.pulled} is damaged",
            found=type(value).__name__,
            expected="a list of images",
            next_step="remove the file; then docker image prune --all takes what failed runs have pulled",
        )
    return tuple(value)


def note(layout: Layout, images: Iterable[str]) -> None:
    """Write images down, durably, before anything is done with them."""
    before = noted(layout)
    _write(layout, before, tuple(dict.fromkeys((*before, *images))))


def forget(layout: Layout, images: Iterable[str]) -> None:
    """Images that the engine does not have any more."""
    gone, before = set(images), noted(layout)
    _write(layout, before, tuple(one for one in before if one not in gone))


def _write(layout: Layout, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    if after != before:
        ensure_directory(layout.state)
        write_atomically(layout.pulled, (json.dumps(after, indent=2) + "\n").encode())

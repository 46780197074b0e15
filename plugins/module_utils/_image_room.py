# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that an application needs no more, taken from an engine that it shares with the other ones of the host.

Which images a release of another application is, its record says. One that is being built has none yet: as long as
somebody builds no image goes. What stays is still noted as pulled, so that a later run takes it.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Sequence

from ansible_collections.slipway.webapp.plugins.module_utils import _pulled
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import locked
from ansible_collections.slipway.webapp.plugins.module_utils._image_names import needed_by
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Engine


def drop_images(layout: Layout, engine: Engine | None, images: Sequence[str], *, check_mode: bool) -> list[str]:
    """Give the room of images back; what was done. One that a container or somebody else needs stays, and is noted."""
    if not images:
        return []
    if engine is None:
        raise SlipwayError("No engine was given")  # a programming error: the module always gives one
    with contextlib.ExitStack() as stack:
        if not check_mode and _others_build(stack, layout):
            return []
        there = [name for name in images if engine.image(name)]
        other = {name: needed_by(name.rpartition("@")[2], prefix=layout.prefix, but=layout.app) for name in there}
        going = [name for name in there if not other[name]]
        steps = [Step("image", f"remove image {name}", {"name": name}) for name in going]
        done = carry_out(steps, lambda step: engine.remove(step.data["name"]), check_mode=check_mode)
        if check_mode:
            return done
        staying = {name for name in there if engine.image(name)}
        _pulled.forget(layout, [name for name in images if name not in staying])
        return [said for said, name in zip(done, going) if name not in staying]


def _others_build(stack: contextlib.ExitStack, layout: Layout) -> bool:
    """Whether another application builds. If none does, none begins to before the ``stack`` has ended."""
    own = layout.lock("build")
    others = os.path.join(glob.escape(os.path.dirname(layout.state)), "*", os.path.basename(own))
    try:
        for path in sorted(glob.glob(others)):
            if path != own:
                stack.enter_context(locked(path))
    except SlipwayError:
        return True
    return False

# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation of every module that works for one application has in common."""

from __future__ import annotations


class ModuleDocFragment:
    """``slipway.webapp.app`` is the option. ``.attributes`` is what a module promises that changes something, ``.info``
    one that changes nothing.
    """

    DOCUMENTATION = r"""
---
options:
  app:
    description:
      - The application's name. It is also the name of its system user and of its directories below C(/srv) and C(/etc).
      - A lower-case letter, then at most 23 lower-case letters, digits or hyphens.
    type: str
    required: true
"""

    ATTRIBUTES = r"""
---
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what would change, without changing anything.
    support: full
  diff_mode:
    description: Returns what has changed, or would change, as text to compare when in C(diff) mode.
    support: full
"""

    INFO = r"""
---
options: {}
attributes:
  check_mode:
    description: Changes nothing, so check mode makes no difference.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
"""

    RUN = r"""
options:
  run:
    description:
      - The run that this is a part of, as M(slipway.webapp.slot) has begun it on this host. It extends the
        host's patience, and is refused when the run is over there.
    type: str
    default: ''
"""

    LEASE = r"""
options:
  run:
    description: The run that this is a part of. Its lease, where this host has it, does not expire meanwhile.
    type: str
    default: ''
"""

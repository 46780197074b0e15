# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation of modules that help to build an image has in common."""

from __future__ import annotations


class ModuleDocFragment:
    """``slipway.webapp.image.attributes`` is what a module promises that changes something."""

    ATTRIBUTES = r"""
---
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what would change, without changing anything.
    support: full
  diff_mode:
    description: RV(actions) tells what is done.
    support: none
"""

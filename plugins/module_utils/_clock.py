# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the clock of this host right enough for what expires?"""

from __future__ import annotations

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._host import iso_time


def require_clock(*, here: float, controller: float, lease_seconds: int) -> None:
    """Refuse this host when its clock is further from the controller's than half of the lease.

    Half, so that no two hosts of a run differ by more than the lease. ``controller`` was read just before the host was
    reached; the seconds between count as the host being ahead.
    """
    off = here - controller
    if abs(off) <= lease_seconds / 2:
        return
    raise SlipwayError(
        f"The clock of this host is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the controller's",
        found=f"{iso_time(here)} here, {iso_time(controller)} on the controller",
        expected=f"at most {lease_seconds / 2:g} s between them, half of webapp_lease_seconds ({lease_seconds})",
        next_step="see `timedatectl` on both, set the one that is wrong, then run the same command again",
    )

# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a front end becomes a release by itself: its files, and neither code nor an environment."""

from __future__ import annotations

from ansible_collections.slipway.webapp.plugins.module_utils._release_build import Builder


class FrontendBuilder(Builder):
    """Carries out the steps for a release that is nothing but a front end."""

    def _prepare(self) -> None:
        self._make_partial()

    def _seal(self) -> None:
        self._make_visible(kind="frontend")

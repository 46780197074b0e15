# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's version, for what it writes on hosts; a test keeps it equal to galaxy.yml."""

from __future__ import annotations

VERSION = "0.1.0"

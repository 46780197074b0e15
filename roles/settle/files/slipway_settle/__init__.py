# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends a run on this host when its controller is not heard of any more."""

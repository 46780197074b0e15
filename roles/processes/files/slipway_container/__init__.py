# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands between systemd and the container of a slot's process: one unit, one container."""

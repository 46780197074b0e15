# SPDX-License-Identifier: GPL-3.0-or-later
"""Test hosts: containers that boot systemd and are reached by SSH, as real servers are."""

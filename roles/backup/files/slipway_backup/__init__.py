# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a PostgreSQL database that are proven by restoring them, and the way back from them."""

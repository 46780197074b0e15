# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.bench.backup``: what a proven backup costs beside ``pg_dump``, as ratios taken in one run."""

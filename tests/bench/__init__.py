# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.bench``: what a deploy costs beside a hand-written script, as ratios taken in one run."""

# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans, rehearses and applies a release's migrations under guards, with the release's own Python (>= 3.9)."""

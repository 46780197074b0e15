# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.demo``: the main job on a real host, told in a dozen lines."""

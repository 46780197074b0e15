# SPDX-License-Identifier: GPL-3.0-or-later
"""How a worker is replaced, in several ways, and what becomes of its tasks."""

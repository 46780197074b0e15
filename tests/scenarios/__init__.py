# SPDX-License-Identifier: GPL-3.0-or-later
"""The Molecule scenarios as tests, and what they look at hosts with."""

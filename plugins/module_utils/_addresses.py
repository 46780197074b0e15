# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of a host: which texts are some, and on which of its own a service listens for the other hosts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Union

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

Address = Union[IPv4Address, IPv6Address]


def parsed(text: str) -> Address | None:
    """The address, or None for a name."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def own_addresses(
    service: str,
    *,
    setting: str,
    chosen: str,
    address: str,
    here: Sequence[str],
    resolve: Callable[[str], Sequence[str]],
) -> tuple[str, ...]:
    """The addresses of this host on which a service listens for the environment's other hosts, as ``here`` writes them.

    ``address`` is what they call this host: an address, or a name and so what that means here. ``chosen`` is the one
    that the operator named in ``setting`` instead. None is guessed: it could be a public one.
    """
    wanted = chosen or address
    by_name = not chosen and parsed(wanted) is None
    meant = list(dict.fromkeys(resolve(wanted))) if by_name else [wanted]
    mine = {parsed(each): each for each in here}
    found = tuple(mine[parsed(each)] for each in meant if parsed(each) and parsed(each) in mine)
    if found:
        return found
    means = f" is {', '.join(meant) or 'a name that this host cannot resolve'}" if by_name else ""
    named = setting if chosen else "webapp_address"
    raise SlipwayError(
        f"{service} cannot listen where the other hosts look for it ({named}: {wanted})",
        found=f"{wanted}{means}, and this host has {', '.join(here) or 'no address'}",
        expected="an address of this host, or for webapp_address a name that means one here",
        next_step=f"set {setting} for this host to the address by which the others reach it, such as that behind a NAT",
    )

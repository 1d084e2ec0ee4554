"""Which IP addresses are the public internet's, and which are never asked.

IPv4: everything but the special-purpose ranges of IANA's registry (RFC 6890). IPv6: only global
unicast, 2000::/3, without the ranges in it that lead elsewhere (Teredo and its like in 2001::/23,
6to4 in 2002::/16) or nowhere (documentation). So IPv4-mapped (::ffff:0:0/96), NAT64 (64:ff9b::/96),
unique local, link-local, site-local and multicast addresses are refused as a whole, and an
embedded private IPv4 address cannot hide in one.
"""

import ipaddress
from collections.abc import Iterable

_NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def read_address(text: str) -> Address | None:
    """The address that `text` writes in its standard form, else None."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not _within(address, _NOT_PUBLIC_4)
    if address.scope_id is not None:
        return False
    return address in _GLOBAL_UNICAST_6 and not _within(address, _NOT_PUBLIC_6)


def is_private(address: Address) -> bool:
    """Whether an address is this machine's or a private network's: what an operator may name.

    Link-local addresses, where clouds keep their metadata service, are not among them.
    """
    return _within(address, _PRIVATE)


def _within(
    address: Address, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> bool:
    return any(address in network for network in networks)

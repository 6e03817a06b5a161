"""What a URL's host says about where the request goes."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network


def is_loopback(host: str | None) -> bool:
    """Whether a host, as a URL names it, can only be this machine. Names are not looked up."""
    if not host:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_web_url(text: str) -> bool:
    """Whether it is an https URL, or plain http to this machine; without credentials, fragment or space."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or parts.fragment or not text.isprintable() or " " in text:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def may_reach(address: str, host: str, allowed: Collection[Network]) -> bool:
    """Whether a URL's host may lead to this address: a public one, one of the networks allowed, or this machine
    where the URL itself names it. A link-local one, where clouds keep credentials, is only reached when allowed."""
    ip: IPv4Address | IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in allowed):
        return True
    if ip.is_loopback:
        return is_loopback(host)
    return ip.is_global and not ip.is_multicast

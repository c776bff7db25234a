"""Addresses of the form HOST:PORT, with IPv6 hosts in brackets."""

from __future__ import annotations


def join(host: str, port: int | str) -> str:
    """Return `host:port`; an IPv6 address, with or without brackets, gets them, in its canonical form."""
    host = host.strip("[]")
    if ":" not in host:
        return f"{host}:{port}"
    import ipaddress  # noqa: PLC0415 - takes 1 ms, and is seldom needed

    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:  # a name
        return f"{host}:{port}"
    return f"[{host}]:{port}"


def split(address: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port; raises ValueError."""
    host, _, port = address.rpartition(":")
    bare = host.strip("[]")
    is_well_formed = bare and host == (f"[{bare}]" if ":" in bare else bare)
    if not is_well_formed or not port.isdecimal() or int(port) > 0xFFFF:
        raise ValueError(f"{address!r} is not of the form HOST:PORT or [IPV6]:PORT")
    return bare, int(port)

"""The sample project's package."""

from orc_shop.prices import price

__all__ = ["dependency", "price"]


def dependency() -> str:
    """The version of what this depends on."""
    import orc_guest_version

    return orc_guest_version.version()

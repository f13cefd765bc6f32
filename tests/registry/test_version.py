"""The version is said in one place."""

from __future__ import annotations

from importlib.metadata import version

from registry.version import __version__


def test_the_package_is_built_with_the_version_it_says() -> None:
    """
    What `pip` was told is what the code says.
    """
    assert version("specreg") == __version__

"""A sandbox that is started once for many tests, as starting loads torch."""

from __future__ import annotations

import atexit
from functools import cache

from heads.sandbox import Sandbox


@cache
def warm() -> Sandbox:
    """The one sandbox; it starts with its first pickle, and again when one of them brought it down."""
    sandbox = Sandbox()
    atexit.register(sandbox.close)
    return sandbox


class Lent:
    """Stands where a new sandbox would be started, and lends the one that is up: as real, and there at once."""

    def __enter__(self) -> Sandbox:
        return warm()

    def __exit__(self, *error: object) -> None:
        """It is not ours to close."""

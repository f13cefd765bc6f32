"""How it is told that a checkpoint is here, and when it was last verified."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry.store.view import LastCheck

CHECK_FACTS = ("verified", "verification_ok")


def check_facts(check: LastCheck | None) -> dict[str, Any]:
    """The last verification for `--json`: its time (ISO 8601, UTC), and whether it found no fault; null for none.

    One that had no record to hold files against, and found no fault, has verified nothing.
    """
    if check is not None and check.ok and not check.recorded:
        check = None
    return {
        "verified": None if check is None else check.checked_at.isoformat(),
        "verification_ok": None if check is None else check.ok,
    }


def here(facts: Mapping[str, Any]) -> str:
    """The same for people, out of "installed", "recorded", "verified" and "verification_ok".

    >>> here({"installed": True, "recorded": True, "verified": "2026-01-31T09:30:12Z", "verification_ok": True})
    'verified 2026-01-31 09:30 UTC'
    >>> [here({"installed": True, "recorded": known, "verified": None}) for known in (True, False)]
    ['installed', 'unrecorded']
    """
    if not facts["installed"]:
        return ""
    if not facts["recorded"] and facts.get("verification_ok") is not False:
        return "unrecorded"
    if facts["verified"] is None:
        return "installed"
    moment = datetime.fromisoformat(facts["verified"]).astimezone(UTC)
    return f"{'verified' if facts['verification_ok'] else 'faulty'} {moment:%Y-%m-%d %H:%M} UTC"

"""The numbers that lie beside a head and make its own probabilities: `calibration.json`, read strictly, within bounds.

They are no part of config.json, whose keys the original loader hands to a constructor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from registry.errors import CheckpointError
from registry.files.strictjson import StrictJSONError, parse_json, shown
from registry.records import Calibration, Outlook

MAX_CALIBRATION_BYTES: Final = 1 << 12
LARGEST: Final = 1e6
WAYS: Final = ("greedy", "sampled")


def parse_calibration(data: bytes, *, file: str) -> Calibration:
    """Scale and bias on the logit of acceptance, and the outlooks that were fitted.

    Args:
        data: The whole file.
        file: What messages call it.

    Raises:
        CheckpointError: longer than MAX_CALIBRATION_BYTES, not strict JSON, or not exactly the numbers of a
            calibration, in bounds; all that is wrong.
    """
    if len(data) > MAX_CALIBRATION_BYTES:
        raise _refused(file, [f"expected at most {MAX_CALIBRATION_BYTES} bytes, got more"])
    try:
        content = parse_json(data)
    except StrictJSONError as error:
        raise _refused(file, [str(error)]) from error
    if not isinstance(content, dict):
        raise _refused(file, [f"expected an object, got {shown(content)}"])
    outlooks = {way: content.pop(way) for way in WAYS if way in content}
    problems = list(_problems(content, ("scale", "bias")))
    for way, found in outlooks.items():
        if isinstance(found, dict):
            problems += (f"{way}.{problem}" for problem in _problems(found, tuple(Outlook.model_fields)))
        else:
            problems.append(f"{way}: expected an object, got {shown(found)}")
    if problems:
        raise _refused(file, problems)
    known = {way: Outlook(**_floats(found)) for way, found in outlooks.items()}
    return Calibration(**_floats(content), greedy=known.get("greedy"), sampled=known.get("sampled"))


def calibration_bytes(calibration: Calibration) -> bytes:
    """What the file holds; one calibration always gives the same bytes."""
    return (json.dumps(calibration.model_dump(exclude_none=True), indent=2) + "\n").encode()


def _problems(found: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    yield from (f"{key}: not a key of a calibration" for key in found if key not in names)
    for key in names:
        if not _is_number(found.get(key)):
            told = shown(found[key]) if key in found else "nothing"
            yield f"{key}: expected a number from -{LARGEST:g} to {LARGEST:g}, got {told}"


def _floats(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float(value) for key, value in found.items()}


def _is_number(found: object) -> bool:
    if not isinstance(found, int | float) or isinstance(found, bool):
        return False
    return math.isfinite(found) and abs(found) <= LARGEST


def _refused(file: str, problems: list[str]) -> CheckpointError:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return CheckpointError(
        f"{file} is no calibration: {problems[0]}{more}. Fit it anew, or take it away: without one the raw "
        "numbers are used.",
        path=file,
        problems=problems,
    )

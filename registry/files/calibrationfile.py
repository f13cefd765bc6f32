"""The scale and bias that lie beside a head: `calibration.json`, read strictly and within bounds.

They are no part of config.json, whose keys the original loader hands to a constructor.
"""

from __future__ import annotations

import json
import math
from typing import Final

from registry.errors import CheckpointError
from registry.files.strictjson import StrictJSONError, parse_json, shown
from registry.records import Calibration

MAX_CALIBRATION_BYTES: Final = 1 << 12
LARGEST: Final = 1e6


def parse_calibration(data: bytes, *, file: str) -> Calibration:
    """Scale and bias on the logit of acceptance.

    Args:
        data: The whole file.
        file: What messages call it.

    Raises:
        CheckpointError: longer than MAX_CALIBRATION_BYTES, not strict JSON, or not exactly two numbers in bounds; all
            that is wrong.
    """
    if len(data) > MAX_CALIBRATION_BYTES:
        raise _refused(file, [f"expected at most {MAX_CALIBRATION_BYTES} bytes, got more"])
    try:
        content = parse_json(data)
    except StrictJSONError as error:
        raise _refused(file, [str(error)]) from error
    if not isinstance(content, dict):
        raise _refused(file, [f"expected an object, got {shown(content)}"])
    problems = [f"{key}: not a key of a calibration" for key in content if key not in ("scale", "bias")]
    for key in ("scale", "bias"):
        if not _is_number(content.get(key)):
            told = shown(content[key]) if key in content else "nothing"
            problems.append(f"{key}: expected a number from -{LARGEST:g} to {LARGEST:g}, got {told}")
    if problems:
        raise _refused(file, problems)
    return Calibration(scale=float(content["scale"]), bias=float(content["bias"]))


def calibration_bytes(calibration: Calibration) -> bytes:
    """What the file holds; one calibration always gives the same bytes."""
    return (json.dumps({"scale": calibration.scale, "bias": calibration.bias}, indent=2) + "\n").encode()


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

"""The bytes of a safetensors file, judged as those of a head before anything is built of them."""

from __future__ import annotations

from collections.abc import Sequence

from heads.encoding import DTYPES
from registry.errors import CheckpointError
from registry.files.layout import HeadConfig, stored_names
from registry.files.tensorfile import TensorFile, read_header


def judged(weights: bytes, config: HeadConfig, *, file: str) -> tuple[TensorFile, dict[str, str]]:
    """The file's header, and every name of the module -> name of the stored tensor that holds it.

    Raises:
        CheckpointError: no sound safetensors file, names or shapes of neither stored form, several dtypes or one
            that is not stored, or numbers that are not finite; all are listed.
    """
    header = read_header(weights, file=file)
    dtypes = _dtype_problems(header)
    try:
        names = stored_names(header, config)
    except CheckpointError as error:
        raise refused(file, [*error.problems, *dtypes]) from error
    problems = dtypes or [f"{name} holds values that are not finite" for name in header.not_finite()]
    if problems:
        raise refused(file, problems)
    return header, names


def refused(
    file: str, problems: Sequence[str], *, next_step: str = "Download or save it again."
) -> CheckpointError:
    """The error that says what is wrong with a head's file."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return CheckpointError(
        f"{file} is not that of an acceptance head: {problems[0]}{more}. {next_step}",
        path=file,
        problems=problems,
    )


def _dtype_problems(header: TensorFile) -> list[str]:
    found = {name: info.dtype for name, info in header.tensors.items()}
    if len(set(found.values())) <= 1 and set(found.values()) <= set(DTYPES.values()):
        return []
    usual = max(sorted(set(found.values())), key=list(found.values()).count)
    expected = usual if usual in DTYPES.values() else "one of " + ", ".join(DTYPES.values())
    return [
        f"{name}: expected dtype {expected}, got {dtype}"
        for name, dtype in sorted(found.items())
        if dtype != usual or usual not in DTYPES.values()
    ]

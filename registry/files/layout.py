"""What a stored head must hold: its config, and the tensors that config implies in either stored form.

The module is `num_layers` residual blocks and a linear layer to two classes. Stored as *separate blocks*,
every block has its tensors. Stored as a *shared block*, the file keeps block 0 and the last layer, and its
metadata maps each name that was dropped to the one kept. Anything between the two is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from registry.errors import CheckpointError
from registry.files.strictjson import StrictJSONError, parse_json, shown
from registry.files.tensorfile import TensorFile

MAX_CONFIG_BYTES: Final = 1 << 16
MAX_HIDDEN_SIZE: Final = 1 << 17
MAX_LAYERS: Final = 64
CLASSES: Final = 2

StoredForm = Literal["separate blocks", "shared block"]
_BLOCK = re.compile(r"model\.\d+\.linear\.(weight|bias)")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """A head's config.json. `unknown` lists the keys it holds besides the two."""

    hidden_size: int
    num_layers: int
    unknown: tuple[str, ...] = ()


def parse_head_config(data: bytes, *, file: str = "config.json") -> HeadConfig:
    """Read a head's config.json.

    Raises:
        CheckpointError: not strict JSON, or fields that are missing, no integers or out of bounds; all.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise _refused(file, [f"longer than {MAX_CONFIG_BYTES} bytes"])
    try:
        content = parse_json(data)
    except StrictJSONError as error:
        raise _refused(file, [str(error)]) from error
    if not isinstance(content, dict):
        raise _refused(file, ["expected an object"])
    fields = {"hidden_size": (1, MAX_HIDDEN_SIZE), "num_layers": (0, MAX_LAYERS)}
    problems = []
    for name, (least, most) in fields.items():
        value = content.get(name)
        if type(value) is not int or not least <= value <= most:
            found = shown(value) if name in content else "nothing"
            problems.append(f"{name}: expected an integer from {least} to {most}, got {found}")
    if problems:
        raise _refused(file, problems)
    return HeadConfig(
        hidden_size=content["hidden_size"],
        num_layers=content["num_layers"],
        unknown=tuple(sorted(content.keys() - fields.keys())),
    )


def expected_shapes(config: HeadConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the module, blocks first.

    >>> expected_shapes(HeadConfig(hidden_size=8, num_layers=0))
    {'model.0.weight': (2, 8), 'model.0.bias': (2,)}
    """
    size, depth = config.hidden_size, config.num_layers
    shapes: dict[str, tuple[int, ...]] = {}
    for block in range(depth):
        shapes[f"model.{block}.linear.weight"] = (size, size)
        shapes[f"model.{block}.linear.bias"] = (size,)
    return shapes | {f"model.{depth}.weight": (CLASSES, size), f"model.{depth}.bias": (CLASSES,)}


def stored_names(header: TensorFile, config: HeadConfig) -> dict[str, str]:
    """Name of every tensor of the module -> name of the stored tensor that holds it.

    Raises:
        CheckpointError: names, shapes or metadata are those of neither stored form; all faults are listed.
    """
    shapes = expected_shapes(config)
    shared = config.num_layers > 1 and "model.1.linear.weight" not in header.tensors
    stored = {name: _kept(name) if shared else name for name in shapes}
    kept = frozenset(stored.values())
    problems = _depth_problem(header, config)
    problems += [f"{name} is not expected" for name in sorted(header.tensors.keys() - kept)]
    for name in shapes:
        info = header.tensors.get(name)
        if name in kept and info is None:
            problems.append(f"{name} is missing")
        elif name in kept and info is not None and info.shape != shapes[name]:
            problems.append(f"{name}: expected shape {list(shapes[name])}, got {list(info.shape)}")
        problems += _metadata_problem(name, stored[name], header)
    unexpected = sorted(name for name in header.metadata if name.startswith("model.") and name not in shapes)
    problems += [f"the metadata maps {shown(name)}, which this head does not have" for name in unexpected]
    if problems:
        raise _refused(header.file, problems)
    return stored


def stored_form(stored: dict[str, str]) -> StoredForm:
    """Which form `stored_names` found."""
    return "separate blocks" if all(name == kept for name, kept in stored.items()) else "shared block"


def _depth_problem(header: TensorFile, config: HeadConfig) -> list[str]:
    """Blocks are counted by their weights, those included that the metadata maps to another."""
    weights = (_BLOCK.fullmatch(name) for name in {*header.tensors, *header.metadata})
    found = sum(1 for match in weights if match is not None and match.group(1) == "weight")
    if found == config.num_layers:
        return []
    return [f"num_layers: expected {config.num_layers} residual blocks as config.json says, got {found}"]


def _kept(name: str) -> str:
    return re.sub(r"^model\.\d+\.", "model.0.", name) if _BLOCK.fullmatch(name) else name


def _metadata_problem(name: str, kept: str, header: TensorFile) -> list[str]:
    mapped = header.metadata.get(name)
    if name == kept:
        return [] if mapped is None else [f"{name} is stored, and the metadata maps it to {shown(mapped)}"]
    if mapped is None:
        return [f"{name} is missing, and the metadata maps it nowhere"]
    return [] if mapped == kept else [f"the metadata maps {name} to {shown(mapped)}, expected {kept}"]


def _refused(file: str, problems: list[str]) -> CheckpointError:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return CheckpointError(
        f"{file} is not that of an acceptance head: {problems[0]}{more}. Download or save it again.",
        path=file,
        problems=problems,
    )

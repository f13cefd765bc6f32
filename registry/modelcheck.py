"""A base model on this machine against its record and the catalog: files hashed in a stream, headers judged.

| check | asks |
|---|---|
| record | do all files match the recorded size and sha256? |
| config | do the sizes in config.json agree with the catalog? |
| format | are the weights sound safetensors files, all that the index lists and no more? |
| tensors | do embedding, output and layers have the sizes that config.json states? |
| finite | is every number finite? Read where a record makes the files read whole. |
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from registry.errors import CheckpointError
from registry.files.folder import CheckpointFolder, HashedFile
from registry.files.manifest import (
    PICKLE_DETAIL,
    PICKLE_SUFFIXES,
    Inspector,
    check_files,
    judge_record,
    required,
)
from registry.files.modelshape import ModelConfig, judge_shapes, model_config
from registry.files.strictjson import StrictJSONError, parse_json, shown
from registry.files.tensorfile import TensorFile
from registry.files.tensorscan import scan_header, scan_tensors
from registry.places import Place
from registry.records import Finding, LockEntry, Model, Status
from registry.report import ModelReport

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
INDEX: Final = f"{WEIGHTS}.index.json"
MAX_CONFIG_BYTES: Final = 1 << 20
MAX_INDEX_BYTES: Final = 1 << 26
MAX_MODEL_FILE_BYTES: Final = 1 << 40
SIZES: Final = ("hidden_size", "vocab_size", "num_hidden_layers")

# Nothing that loads a model reads these, so a record may leave them out and a folder may lack them.
INERT_SUFFIXES: Final = frozenset({".md", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".gguf", ".onnx"})
_OTHER_WEIGHTS: Final = (*PICKLE_SUFFIXES, ".h5", ".msgpack")
# Unread where safetensors lie beside them, and so are their indexes.
OTHER_FORMATS: Final = (*_OTHER_WEIGHTS, *(f"{suffix}.index.json" for suffix in _OTHER_WEIGHTS))
INERT_NAMES: Final = frozenset(
    {".gitattributes", ".gitignore", "LICENSE", "LICENSE.txt", "NOTICE", "NOTICE.txt"}
)

# What else of its repository another tool may put into the Hub's snapshot of a model. Lists of what may lie there,
# so that whatever a loader might read (weights, settings, tokenizer files, templates, code) stays a fault.
UNREAD_NAMES: Final = frozenset(
    {
        *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
        *("configuration.json", "params.json", "model_index.json", "requirements.txt"),
        *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
        *("trainer_state.json", "training_args.json", "all_results.json", "train_results.json"),
        *("eval_results.json", "consolidated.safetensors", "consolidated.safetensors.index.json"),
    }
)
UNREAD_SUFFIXES: Final = frozenset(
    {
        *("", ".yaml", ".yml", ".toml", ".cff", ".csv", ".tsv", ".parquet", ".jsonl", ".log"),
        *(".sh", ".ipynb", ".html", ".rst", ".bib", ".tex", ".sha256", ".md5"),
        *(".webp", ".mp3", ".mp4", ".wav"),
        *(".onnx_data", ".ot", ".tflite", ".xml", ".pte", ".nemo", ".ggml", ".imatrix"),
    }
)
_UNREAD: Final = re.compile(
    r"(?i:licen[cs]e|notice|copying|use_policy|third_party)[\w .-]*\.txt"
    r"|consolidated[.-]\d+(?:-of-\d+)?\.(?:safetensors|pth)|events\.out\.tfevents\..+"
)

_Verdict = tuple[Status, str]


def verify_model(model: Model, folder: Path | Place, *, entry: LockEntry | None) -> ModelReport:
    """Check one base model. Without a record only its config and the headers of its weights are read.

    Args:
        model: The catalog's entry.
        folder: Its folder on this machine, or the place it was found at.
        entry: Its record, if any.

    Raises:
        NotInstalledError: the place says that the model is not here.
    """
    in_snapshot = isinstance(folder, Place) and folder.kind == "hub"
    if isinstance(folder, Place):
        folder = folder.installed(model.alias)
    recorded = entry.files.keys() if entry is not None else frozenset[str]()

    def harmless(name: str) -> bool:
        return _is_inert(name, recorded) or (in_snapshot and name not in recorded and _is_unread(name))

    sight = _ModelSight(whole=entry is not None)
    reports = check_files(
        CheckpointFolder(folder),
        entry,
        inspector_of=sight.inspector_of,
        harmless=harmless,
        max_bytes=MAX_MODEL_FILE_BYTES,
    )
    reports = required((CONFIG,), reports)
    verdicts = {
        "record": judge_record(reports, entry, sight.problems),
        "config": _config(sight, model),
        "format": _format(sight, any(report.path.endswith(PICKLE_SUFFIXES) for report in reports)),
        "tensors": _tensors(sight),
        "finite": _finite(sight),
    }
    findings = tuple(
        Finding(check=check, subject=model.alias, status=status, detail=detail)
        for check, (status, detail) in verdicts.items()
    )
    return ModelReport(model=model.alias, files=reports, findings=findings)


@dataclass
class _ModelSight:
    """What one pass over a model's files showed."""

    whole: bool
    sizes: dict[str, int] | None = None
    config: ModelConfig | None = None
    index: dict[str, str] | None = None
    not_finite: list[str] = field(default_factory=list)
    headers: dict[str, TensorFile] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def inspector_of(self, name: str) -> Inspector | None:
        if name not in (CONFIG, INDEX) and ("/" in name or not name.endswith(".safetensors")):
            return None

        def inspect(file: HashedFile) -> None:
            try:
                self._see(file)
            except CheckpointError as error:
                self.problems[name] = "; ".join(error.problems) or str(error)
                raise

        return inspect

    def _see(self, file: HashedFile) -> None:
        if file.name == CONFIG:
            content = _object(file, MAX_CONFIG_BYTES)
            self.sizes = _sizes(content, file.name)
            self.config = model_config(self.sizes, content)
        elif file.name == INDEX:
            self.index = _index(file)
        elif self.whole:
            scan = scan_tensors(file)
            self.headers[file.name] = scan.header
            self.not_finite += scan.not_finite
        else:
            self.headers[file.name] = scan_header(file)


def _config(sight: _ModelSight, model: Model) -> _Verdict:
    if CONFIG in sight.problems:
        return "fail", sight.problems[CONFIG]
    if sight.sizes is None:
        return "unknown", "no sound config.json to look into"
    stated = {"hidden_size": model.hidden_size, "vocab_size": model.vocab_size}
    wrong = [
        f"{name}: expected {stated[name]} as the catalog says, got {found}"
        for name, found in sight.sizes.items()
        if stated.get(name) not in (None, found)
    ]
    if wrong:
        return "fail", "; ".join(wrong)
    agreed = [f"{name} {size}" for name, size in sight.sizes.items() if stated.get(name) is not None]
    return (
        ("pass", ", ".join(agreed)) if agreed else ("unknown", "the catalog states no size to compare with")
    )


def _format(sight: _ModelSight, pickled: bool) -> _Verdict:
    problems = [f"{name}: {problem}" for name, problem in sorted(sight.problems.items()) if name != CONFIG]
    if sight.index is not None and not problems:
        problems = _index_problems(sight.index, sight.headers)
    if len(sight.headers) > 1 and sight.index is None and WEIGHTS not in sight.headers:
        problems.append(f"{INDEX} is not here, to tell which of {len(sight.headers)} files hold the model")
    if problems:
        return "fail", "; ".join(problems[:8])
    if sight.headers:
        return "pass", f"safetensors, {sum(len(header.tensors) for header in sight.headers.values())} tensors"
    if pickled:
        return "unknown", f"its weights are {PICKLE_DETAIL}"
    return "unknown", "no safetensors file to look into"


def _index_problems(index: dict[str, str], headers: dict[str, TensorFile]) -> list[str]:
    shards = sorted(set(index.values()) - headers.keys())
    lost = [name for name, shard in index.items() if shard in headers and name not in headers[shard].tensors]
    problems = [f"{INDEX} lists {shown(shard)}, which is not here" for shard in shards]
    problems += [f"{INDEX}: {shown(name)} is not in {index[name]}" for name in lost]
    for shard, header in sorted(headers.items()):
        unlisted = sorted(name for name in header.tensors if index.get(name) != shard)
        if unlisted and (shard in index.values() or shard.startswith("model")):
            problems.append(
                f"{INDEX} does not list {shown(unlisted[0])} of {shard}, which would not be loaded"
            )
    return problems


def _tensors(sight: _ModelSight) -> _Verdict:
    if sight.config is None:
        return "unknown", "no sound config.json to compare with"
    if not sight.headers or set(sight.problems) - {CONFIG}:
        return "unknown", "no sound safetensors files to look into"
    loaded = {WEIGHTS} if sight.index is None and WEIGHTS in sight.headers else sight.headers.keys()
    shapes = {
        name: info.shape
        for file in loaded
        for name, info in sight.headers[file].tensors.items()
        if sight.index is None or sight.index.get(name) == file
    }
    return judge_shapes(sight.config, shapes)


def _finite(sight: _ModelSight) -> _Verdict:
    if sight.not_finite:
        return "fail", f"NaN or infinity in {', '.join(sorted(sight.not_finite)[:8])}"
    if not sight.headers:
        return "unknown", "no safetensors file to look into"
    if not sight.whole:
        return "unknown", "without a record only the headers were read"
    return "pass", "every number is finite"


def _is_inert(name: str, recorded: Collection[str]) -> bool:
    """Whether no loader reads such a file beside those recorded."""
    if "/" in name:  # folders inside a model hold other formats, but for chat templates
        return not name.startswith("additional_chat_templates/")
    if name.endswith(OTHER_FORMATS):
        return any(other.endswith(".safetensors") for other in recorded)
    return name in INERT_NAMES or Path(name).suffix.lower() in INERT_SUFFIXES


def _is_unread(name: str) -> bool:
    """Whether no loader of causal models reads such a file of the Hub, which lies at the top of its repository."""
    if "/" in name:  # but for templates those are inert already
        return False
    suffix = Path(name).suffix.lower()
    return name in UNREAD_NAMES or suffix in UNREAD_SUFFIXES or _UNREAD.fullmatch(name) is not None


def _sizes(config: dict[str, Any], file: str) -> dict[str, int]:
    nested = config.get("text_config")  # where a multimodal model keeps those of its language model
    config = {**nested, **config} if isinstance(nested, dict) else config
    sizes = {}
    for name in SIZES:
        value = config.get(name)
        if value is not None and (type(value) is not int or value < 1):
            raise _refused(file, f"{name}: expected an integer from 1, got {shown(value)}")
        if value is not None:
            sizes[name] = value
    return sizes


def _index(file: HashedFile) -> dict[str, str]:
    weights = _object(file, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weights, dict) or not all(isinstance(shard, str) for shard in weights.values()):
        raise _refused(file.name, "weight_map: expected text for each tensor's name")
    return weights


def _object(file: HashedFile, max_bytes: int) -> dict[str, Any]:
    content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise _refused(file.name, f"longer than {max_bytes} bytes")
    try:
        value = parse_json(content)
    except StrictJSONError as error:
        raise _refused(file.name, str(error)) from error
    if not isinstance(value, dict):
        raise _refused(file.name, "expected an object")
    return value


def _refused(name: str, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{name} cannot be used: {problem}. Download it again.", path=name, problems=[problem]
    )

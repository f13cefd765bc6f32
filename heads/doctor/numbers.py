"""Whether the weights are numbers that decoding can trust: finite, of a fitting dtype, alike in the whole chain."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers import PreTrainedModel

from heads.doctor.check import Check
from heads.doctor.loading import Patient
from heads.doctor.recorded import stored_dtype
from registry.command import command


def judge_numbers(patient: Patient) -> Iterator[Check]:
    """Each model's weights, and the dtypes of all together."""
    dtypes: dict[str, str] = {}
    for model, loaded in zip(patient.models, patient.cascade.models, strict=True):
        yield _finite(model.alias, loaded, patient)
        dtypes[model.alias] = _short(loaded.dtype)
        stored = stored_dtype(patient.shelf.model_place(model).folder)
        yield _dtype(model.alias, stored, dtypes[model.alias], patient)
        scheme = getattr(loaded.config, "quantization_config", None)
        if scheme is not None:
            yield _quantised(patient, model.alias, scheme)
    if len(set(dtypes.values())) > 1:
        told = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        yield Check(
            check="dtype",
            subject=" -> ".join(patient.names),
            status="warning",
            found=told,
            expected="one dtype for all models",
            cause="wrong dtype: models that are rounded otherwise agree less often",
            next=patient.again(dtype="bfloat16"),
        )


def quantised(patient: Patient) -> list[str]:
    """Names of the models whose weights are."""
    return [
        name
        for name, loaded in zip(patient.names, patient.cascade.models, strict=True)
        if getattr(loaded.config, "quantization_config", None) is not None
    ]


def _finite(name: str, loaded: PreTrainedModel, patient: Patient) -> Check:
    broken = [
        part
        for part, weight in loaded.named_parameters()
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all())
    ]
    if not broken:
        return Check(check="finite", subject=name, status="ok", found="all weights are finite numbers")
    return Check(
        check="finite",
        subject=name,
        status="fault",
        found=f"{len(broken)} tensors hold NaN or infinity, the first is {broken[0]}",
        expected="finite numbers",
        cause="corrupt weights, or float16 of weights that are too large for it",
        next=patient.again(dtype="bfloat16"),
    )


def _dtype(name: str, stored: str | None, loaded: str, patient: Patient) -> Check:
    """Other dtypes only round; float16 cannot hold what bfloat16 can."""
    if (stored, loaded) == ("bfloat16", "float16"):
        return Check(
            check="dtype",
            subject=name,
            status="warning",
            found="stored in bfloat16, loaded in float16",
            expected="bfloat16 or float32",
            cause="wrong dtype: float16 overflows where bfloat16 does not",
            next=patient.again(dtype="bfloat16"),
        )
    found = f"loaded in {loaded}" if stored is None else f"stored in {stored}, loaded in {loaded}"
    return Check(check="dtype", subject=name, status="ok", found=found)


def _quantised(patient: Patient, name: str, scheme: object) -> Check:
    role = "target" if name == patient.names[-1] else "draft"
    method = scheme.get("quant_method") if isinstance(scheme, dict) else getattr(scheme, "quant_method", None)
    return Check(
        check="quantised",
        subject=name,
        status="warning",
        found=f"its weights are quantised ({getattr(method, 'value', method) or 'no method is named'})",
        expected="the weights that heads were trained beside",
        cause=f"a quantised {role}: heads were trained on the model as published, and "
        "foresee acceptance less well",
        next=f"{command('evaluate', 'HEAD', '--prompts', 'FILE', catalogs=patient.shelf.given)}  # on this very model",
    )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

"""The chain at work: greedy text is that of the target alone, and it is a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from heads.doctor.acceptance import has_template
from heads.doctor.check import Check, Status
from heads.doctor.loading import Patient
from heads.doctor.remedy import put_right
from heads.generation import Generation
from heads.settings import MAX_DRAFT
from heads.training.labels import logits_at
from registry.planning.lengths import DraftLengths

TIES: Final = 4.0  # roundings of the largest logit: what is nearer is a tie
AT_ONCE: Final = 2  # tokens
FEW: Final = 2  # different tokens
LONG: Final = 16  # tokens, from which on a text should vary
WARM_UP: Final = 8


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One prompt, continued by the target alone and by the chain."""

    prompt: tuple[int, ...]
    plain: Generation
    chain: Generation

    def sooner(self, other: Decoded) -> Decoded:
        """The same with the shorter time of both, for each of the two: what else a machine does only adds to it."""
        return Decoded(
            prompt=self.prompt,
            plain=min(self.plain, other.plain, key=_seconds),
            chain=min(self.chain, other.chain, key=_seconds),
        )

    @property
    def parting(self) -> int | None:
        """The first token at which the two differ; None where they do not."""
        one, other = self.plain.token_ids, self.chain.token_ids
        for place, (first, second) in enumerate(zip(one, other, strict=False)):
            if first != second:
                return place
        return None if len(one) == len(other) else min(len(one), len(other))


def _seconds(out: Generation) -> float:
    return out.seconds


def decode_prompts(
    patient: Patient,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    lengths: DraftLengths,
    told: Callable[[], None] = lambda: None,
) -> list[Decoded]:
    """Continue each prompt greedily, by the target alone and by the chain, in turns.

    Raises:
        GenerationError: Logits are not finite.
    """
    cascade = patient.cascade
    alone = cascade.part([len(cascade.models) - 1])
    settings: dict[str, Any] = lengths.settings
    longest = max(map(len, prompts)) + max_new_tokens
    cascade.warm_up(longest, max_draft=settings.get("max_draft", MAX_DRAFT))
    alone.warm_up(longest)
    for one, given in ((alone, {}), (cascade, settings)):
        one.generate(list(prompts[0]), max_new_tokens=WARM_UP, **given)
    found: list[Decoded] = []
    for prompt in prompts:
        plain = alone.generate(list(prompt), max_new_tokens=max_new_tokens)
        chain = cascade.generate(list(prompt), max_new_tokens=max_new_tokens, **settings)
        found.append(Decoded(prompt=tuple(prompt), plain=plain, chain=chain))
        told()
    return found


def judge_decoding(patient: Patient, decoded: Sequence[Decoded], *, chat: bool, low: bool) -> Iterator[Check]:
    """Whether the chain's text is the target's, what its levels did, and whether it is a text at all.

    Args:
        patient: The chain.
        decoded: Its texts.
        chat: Whether prompts were put into the chat template.
        low: Whether an edge keeps less than it should.
    """
    subject = " -> ".join(patient.names)
    parted = [one for one in decoded if one.parting is not None]
    yield from (_parted(patient, one, subject) for one in parted)
    if not parted:
        greedy = "1 greedy text" if len(decoded) == 1 else f"{len(decoded)} greedy texts"
        found = f"{greedy}, token for token as {patient.names[-1]} alone writes"
        yield Check(check="text", subject=subject, status="ok", found=found)
    if len(patient.names) > 1:
        found = _levels(decoded) + patient.bare
        yield Check(check="drafts", subject=subject, status="ok", found=found)
    yield _varied(patient, decoded, chat=chat, low=low)


def _levels(decoded: Sequence[Decoded]) -> str:
    """What each level handed up in all texts, and how much of it was kept."""
    told = []
    for level, report in enumerate(decoded[0].chain.levels[:-1]):
        proposed = sum(one.chain.levels[level].proposed or 0 for one in decoded)
        accepted = sum(one.chain.levels[level].accepted or 0 for one in decoded)
        told.append(f"{report.model} {accepted} of {proposed} accepted")
    return "; ".join(told)


@torch.inference_mode()
def _parted(patient: Patient, one: Decoded, subject: str) -> Check:
    """How far apart the two tokens are by the target's own logits: rounding may turn a near tie over."""
    place = one.parting or 0
    target = patient.cascade.models[-1]
    ids = torch.tensor([[*one.prompt, *one.plain.token_ids[:place]]], device=target.device)
    logits = logits_at(target, ids, slice(ids.shape[1] - 1, ids.shape[1]))[0, 0].float()
    logits = logits[: patient.cascade.vocab_size]
    tokens = [text.token_ids[place] for text in (one.plain, one.chain) if place < len(text.token_ids)]
    gap = float(logits.max() - min(logits[token] for token in tokens))
    tie = gap <= TIES * torch.finfo(target.dtype).eps * float(logits.abs().max())
    full = target.dtype == torch.float32
    statuses: dict[tuple[bool, bool], Status] = {
        (True, True): "warning",
        (True, False): "fault",
        (False, True): "ok",
        (False, False): "warning",
    }
    status = statuses[full, tie]
    found = (
        f"the chain's greedy text parts from that of {patient.names[-1]} alone at token {place + 1}, where "
    )
    found += f"logits are {gap:.2g} apart{', a near tie' if tie else ''}"
    if status == "ok":
        return Check(
            check="text", subject=subject, status=status, found=f"{found}: rounding of {target.dtype}"
        )
    return Check(
        check="text",
        subject=subject,
        status=status,
        found=found,
        expected="the same tokens" if full else "the same tokens, but for near ties",
        cause="a fault of the engine, or of the model's code for several tokens at a time"
        if not tie
        else "rounding: another number of tokens at a time takes other kernels",
        next=patient.again(dtype="float32", engine="eager"),
    )


def _varied(patient: Patient, decoded: Sequence[Decoded], *, chat: bool, low: bool) -> Check:
    """Half of the texts, or more, that end at once or say one thing over and over, are no texts."""
    texts = [one.plain for one in decoded]
    ended = [one for one in texts if one.finish_reason == "eos" and one.new_tokens <= AT_ONCE]
    stuck = [one for one in texts if one.new_tokens >= LONG and len(set(one.token_ids)) <= FEW]
    subject, unformatted = patient.names[-1], has_template(patient) and not chat
    if 2 * max(len(ended), len(stuck)) < len(texts):
        note = " (it has a chat template, which was not used)" if unformatted and low else ""
        return Check(
            check="prompts",
            subject=subject,
            status="ok",
            found=f"its texts neither end at once nor repeat themselves{note}",
        )
    found = (
        f"{len(ended)} of {len(texts)} texts end within {AT_ONCE} tokens"
        if len(ended) >= len(stuck)
        else f"{len(stuck)} of {len(texts)} texts say the same over and over"
    )
    return Check(
        check="prompts",
        subject=subject,
        status="warning",
        found=found,
        expected="texts that neither end at once nor repeat themselves",
        cause="prompt format: the target has a chat template, and prompts were given without it"
        if unformatted
        else "prompts of a kind that the target was not made for, or corrupt weights",
        next=patient.again(chat="") if unformatted else put_right(patient.shelf, patient.models[-1]),
    )

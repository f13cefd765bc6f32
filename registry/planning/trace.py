"""What the models of a chain would have said along texts of its last one: all that a round's outcome hangs on.

A round of drafting ends at the first token that the level above refuses. Given a text of the target, with tokens x_t
and the rows q and p of an edge's two models before it, the token at t is one that the draft proposed and the target
kept with probability min(1, q(x_t) / p(x_t)), independently of all else in the text. (Speculative decoding emits x_t
with probability p(x_t), and as an accepted draft with min(p(x_t), q(x_t)).) And where it was kept, the draft has read
the text itself. So one pass of each model over such a text tells how every chain and every fixed length would have
fared on it, and, with what the heads say of kept and of refused tokens, every threshold.

Source: Leviathan et al., arXiv:2211.17192, appendix A.1, read the other way round.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from registry.records import Record

Share = Annotated[float, Field(ge=0, le=1)]


class TextTrace(Record):
    """One edge along one text; each tuple has a number for each token that the target said.

    `kept` is the probability that the edge's source had proposed this very token, given that the edge's target has
    said it. Where the edge's target is not the text's own model, `kept_otherwise` is the same where it said something
    else, which the level above refused; else it is empty. `foreseen_kept` is what the head says after reading this
    token, `foreseen_refused` what it says after reading a proposal that is refused here; both are empty without a head.
    `next_foreseen` is what is said of a token drawn here before anything has read it, by how sure the source was of it;
    it is empty where the head has no outlook for this way to draw. With one the other two tell of both together.

    Of four models or more that were measured together, the level above is the next of them, or the last where the edge
    skips one. A chain that leaves that level out is replayed with it all the same: `kept_otherwise` counts only behind
    a refused token, and moved what a chain takes by 0.1 to 1.7 per cent in simulation; greedily not at all.
    """

    prompt_tokens: Annotated[int, Field(ge=0)]
    kept: tuple[Share, ...]
    kept_otherwise: tuple[Share, ...] = ()
    foreseen_kept: tuple[Share, ...] = ()
    foreseen_refused: tuple[Share, ...] = ()
    next_foreseen: tuple[Share, ...] = ()


class EdgeTrace(Record):
    """One edge along texts of `text_of`, which is its own target or a model further up.

    `acceptance` is the mean over all places of the sum of min(p, q): of tokens drafted there, the share that is kept.
    `texts_key` tells texts apart: traces of one chain belong together only where it is the same.
    """

    source: str
    target: str
    text_of: str
    texts_key: str
    head_name: str | None = None
    acceptance: Share
    texts: tuple[TextTrace, ...]

    @property
    def foreseen(self) -> bool:
        """Whether it tells what a head says."""
        return bool(self.texts) and all(len(text.foreseen_kept) == len(text.kept) for text in self.texts)

    def without_head(self) -> EdgeTrace:
        """The same edge, its head unheard."""
        texts = tuple(
            text.model_copy(update={"foreseen_kept": (), "foreseen_refused": (), "next_foreseen": ()})
            for text in self.texts
        )
        return self.model_copy(update={"head_name": None, "texts": texts})

"""How a text is drawn, as far as acceptance depends on it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from registry.records import Record


class Law(Record):
    """What the target's rows are warped by. Temperature 0 is greedy, and nothing else counts then."""

    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.temperature == 0

    @property
    def key(self) -> str:
        """One text per law.

        >>> Law().key, Law(top_p=0.9).key, Law(temperature=1.0, top_p=0.9).key
        ('greedy', 'greedy', 'temperature 1, top-p 0.9')
        """
        if self.greedy:
            return "greedy"
        told = [f"temperature {self.temperature:g}"]
        told += [f"top-k {self.top_k}"] if self.top_k else []
        told += [f"top-p {self.top_p:g}"] if self.top_p < 1 else []
        told += [f"min-p {self.min_p:g}"] if self.min_p else []
        return ", ".join(told)

    @property
    def measuring(self) -> tuple[str, ...]:
        """What `specreg measure` has to be told to read texts drawn like this: nothing where it does so by default.

        >>> Law().measuring, Law(temperature=1.0).measuring, Law(temperature=0.7, top_k=40).measuring
        ((), (), ('--temperature', '0.7', '--top-k', '40'))
        """
        if self.greedy or self == Law(temperature=1.0):
            return ()
        words = ["--temperature", f"{self.temperature:g}"]
        words += ["--top-k", str(self.top_k)] if self.top_k else []
        words += ["--top-p", f"{self.top_p:g}"] if self.top_p < 1 else []
        words += ["--min-p", f"{self.min_p:g}"] if self.min_p else []
        return tuple(words)

"""What a training is asked for is refused before anything is loaded."""

from __future__ import annotations

import pytest

from heads.training.order import Order
from registry.errors import UsageError
from registry.records import Model

A, B = Model(alias="a"), Model(alias="b")
BAD = {
    "up": "../../../evil",
    "absolute": "/var/x",
    "inside": "a/b",
    "empty": "",
    "blank and letter": "mine ü",
    "dots": "a..b",
    "long": "a" * 97,
    "line": "a\n",
}


@pytest.mark.parametrize("run", BAD.values(), ids=BAD)
def test_a_run_is_called_as_a_catalog_lets_it_be(run: str) -> None:
    """
    Folders bear its name, and at the end an entry does: what that would refuse is refused now.
    """
    with pytest.raises(UsageError, match=r"The training run's name is refused: expected a name of letters"):
        Order(source=A, target=B, run=run, prompts=("x",))


def test_models_are_called_as_a_catalog_lets_them_be() -> None:
    """
    An entry that was made by hand leads nowhere else either.
    """
    astray = Model.model_construct(alias="../b")

    with pytest.raises(UsageError, match="The target's alias is refused"):
        Order(source=A, target=astray, run="mine", prompts=("x",))

"""The cards: what is known is told, and what others wrote stays text."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from registry.card import addressed, head_card, metadata, repository_card
from registry.records import Calibration, Head, Model, Outlook
from registry.training import LogRow, TrainingRecord

TEXTS = st.text(min_size=1) | st.sampled_from(
    [
        "no",
        "null",
        "1e3",
        "0x10",
        "a: b",
        "- a",
        "#a",
        "'",
        '"',
        "\\",
        "---",
        "\x85",
        "\u2028",
        "\ufeff",
        "😀",
        "a\nb",
    ]
)
BAR = re.compile(r"(?<!\\)(?:\\\\)*\|")
SOURCE = Model(alias="little", hub="org/Little-1B", hidden_size=8, vocab_size=64, license="apache-2.0")
TARGET = Model(alias="big", hub="org/Big-2B", hidden_size=16, vocab_size=64)
HEAD = Head.model_validate({"source": "little", "target": "big", "run": "exp-weight6-layer3", "from": "mine"})
CONFIG = {"hidden_size": 8, "num_layers": 3}


def card(**changes: Any) -> str:
    """A card, with what is told of it changed."""
    facts: dict[str, Any] = {"source": SOURCE, "target": TARGET, "head": HEAD, "config": CONFIG}
    facts |= {"training": None, "evaluation": None, "calibration": None}
    return head_card(**{**facts, **changes})


def front_matter(text: str) -> Any:
    """What a YAML reader finds between the first two marks."""
    _, block, _ = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(block)


@given(license_id=TEXTS, hubs=st.tuples(TEXTS, TEXTS), names=st.tuples(TEXTS, TEXTS, TEXTS))
def test_the_front_matter_reads_back(
    license_id: str, hubs: tuple[str, str], names: tuple[str, str, str]
) -> None:
    """
    Whatever the names and the license are, a YAML reader finds them again in the front matter.
    """
    source, target, run = names
    head = Head.model_validate({"source": source, "target": target, "run": run, "from": "mine"})
    ends = [Model(alias=alias, hub=hub) for alias, hub in zip((source, target), hubs, strict=True)]

    found = front_matter(card(source=ends[0], target=ends[1], head=head, license=license_id))

    assert found["license"] == license_id
    assert found["base_model"] == list(dict.fromkeys(hubs))
    assert found["library_name"] == "specreg"
    assert found["specreg"] == {"source": source, "target": target, "run": run, **CONFIG}


@given(text=TEXTS, key=TEXTS)
def test_foreign_text_ends_no_cell_and_no_line(text: str, key: str) -> None:
    """
    Names and figures of any text leave a card with the lines and cells that it has with plain ones.
    """
    head = Head.model_validate({"source": text, "target": text, "run": text, "from": "mine"})
    strange = card(
        source=Model(alias=text, license=text),
        target=Model(alias=text),
        head=head,
        evaluation={key: f"{text}x"},
    )
    head = Head.model_validate({"source": "a", "target": "a", "run": "a", "from": "mine"})
    plain = card(
        source=Model(alias="a", license="a"), target=Model(alias="a"), head=head, evaluation={"a": "x"}
    )

    assert shape(strange) == shape(plain)


def shape(text: str) -> list[str]:
    """What a card is made of: its headings' levels, the cells of each row, and its fences."""
    body = text.split("\n## ", 1)[1]
    found = []
    for line in body.split("\n"):
        if line.startswith("|"):
            found.append(f"{len(BAR.findall(line))} bars")
        elif re.match(r"#+ |`{3}", line):
            found.append(line.split(" ")[0].rstrip("`"))
        else:
            found.append("line")
    return found


@pytest.mark.parametrize(
    "text",
    ["<img src=x>", "[a](http://evil)", "http://evil", "www.evil.com", "a|b", "`a`", "*a*", "@someone"],
)
def test_markup_in_a_figure_is_shown_as_it_is(text: str) -> None:
    """
    No tag, link, mention or emphasis comes out of a figure.
    """
    row = next(line for line in card(evaluation={"on": text}).splitlines() if line.startswith("| `on` "))
    shown = row.split(" | ", 1)[1].removesuffix(" |")

    assert re.sub(r"\\(.)", r"\1", shown) == text
    assert not re.search(r"(?<!\\)[<>\[\]*`|@:]|(?<=www)\.", shown)


@given(names=st.tuples(TEXTS, TEXTS, TEXTS).filter(lambda names: "".join(names).isprintable()))
def test_the_commands_hold_the_names_as_words(names: tuple[str, str, str]) -> None:
    """
    A shell takes each name in the commands for one word, and nothing in it for a command.
    """
    source, target, run = names
    head = Head.model_validate({"source": source, "target": target, "run": run, "from": "mine"})

    block = re.findall(r"(`{3,})sh\n(.*?)\n\1", card(head=head, repo="me/heads"), re.DOTALL)[0][1]
    words = [shlex.split(line) for line in block.split("\n")]

    assert words[0] == ["specreg", "import", "me/heads", "--into", "taken-in.yaml"]
    assert [line[1] for line in words] == ["import", "download", "verify", "decode"]
    assert words[1][2] == words[2][2] == head.name
    assert words[3][2:7] == [source, target, "--length", "2", "--run"]
    assert words[3][7] == run


def test_what_is_known_is_told() -> None:
    """
    Training, evaluation, calibration and the run's weight each have their figures in the card.
    """
    training = TrainingRecord(
        steps=1200, epochs=2.0, log=(LogRow(step=1200, loss=0.51234, eval_loss=0.5, eval_kl=0.1),)
    )
    evaluation = {"auc": 0.70312, "positions": 48000, "baselines": {"entropy": {"auc": 0.61}}, "odd": True}

    outlook = Outlook(head=0.25, confidence=1.5, bias=2.0, next_confidence=1.25, next_bias=2.5)
    calibration = Calibration(scale=1.5, bias=1.75, greedy=outlook)
    text = card(training=training, evaluation=evaluation, calibration=calibration)

    assert "| steps | 1,200 |" in text
    assert "| loss, last row of the log | 0.5123 |" in text
    assert "| weight on rejection, by the run's name | 6 |" in text
    assert "| held-out positions | 48,000 |" in text
    assert "| AUC | 0.7031 |" in text
    assert "| AUC of the source's entropy, without a head | 0.61 |" in text
    assert "| `odd` | yes |" in text
    assert "scale 1.5, bias 1.75" in text
    assert "greedy: sigmoid(0.25 * logit + 1.5 * c + 2)" in text
    assert "sigmoid(1.25 * c + 2.5)" in text
    assert "sampled:" not in text
    assert "[`little`](https://huggingface.co/org/Little-1B)" in text


def test_what_is_not_known_has_no_section() -> None:
    """
    Without a training record, an evaluation and a calibration no heading promises one.
    """
    headings = re.findall(r"^## (.*)$", card(), re.MULTILINE)

    assert headings == ["Models", "Head", "How to use", "License"]


def test_one_head_gives_one_card() -> None:
    """
    The order in which figures were written makes no difference.
    """
    assert card(evaluation={"b": 1, "a": {"d": 2, "c": 3}}) == card(
        evaluation={"a": {"c": 3, "d": 2}, "b": 1}
    )


def test_what_is_no_figure_is_left_out() -> None:
    """
    NaN, null, lists, numbers past all measure and figures nested without end have no row.
    """
    deep: dict[str, object] = {"x": 1}
    for _ in range(500):
        deep = {"x": deep}
    odd = {"a": float("nan"), "b": None, "c": [1], "d": 10**5000, "e": float("-inf"), "f": deep}

    assert card(evaluation=odd) == card()


def test_models_without_a_hub_id_are_no_base_models() -> None:
    """
    The Hub's list of base models takes Hub ids alone; other models are told by their alias.
    """
    text = card(source=Model(alias="little"), target=Model(alias="big"))

    assert "base_model" not in front_matter(text)
    assert "| source | `little` |" in text


def test_a_repositorys_card_lists_heads_and_base_models() -> None:
    """
    Each model is named once, though two heads join it, and each head has its row.
    """
    other = Head.model_validate({"source": "little", "target": "big", "run": "second", "from": "mine"})

    text = repository_card(
        repo="me/heads", heads=[(HEAD, SOURCE, TARGET), (other, SOURCE, TARGET)], license="mit"
    )

    assert front_matter(text)["base_model"] == ["org/Little-1B", "org/Big-2B"]
    assert text.count("| `little--to--big/") == 2
    assert "specreg import me/heads --into taken-in.yaml" in text


def test_what_an_owner_may_add_is_yaml() -> None:
    """
    The lines for a card of one's own read as the front matter that would have been made.
    """
    assert yaml.safe_load(metadata("mit", [SOURCE])) == {
        "license": "mit",
        "library_name": "specreg",
        "base_model": ["org/Little-1B"],
        "tags": ["speculative-decoding", "acceptance-prediction-head", "specreg"],
    }


def test_a_card_gets_the_name_of_its_repository() -> None:
    """
    A card made without a repository becomes the one that would have been made for it; any other stays as it is.
    """
    other = "Our own card of OWNER/NAME"

    assert addressed(card(), "me/heads") == card(repo="me/heads")
    assert addressed(card(repo="me/heads"), "you/heads") == card(repo="me/heads")
    assert addressed(other, "me/heads") == other

"""Building a cascade and asking it for text: what fits, what is refused, what comes back."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast, TextStreamer

from heads import Cascade, Generation
from heads.engines.eager import EagerLevel
from heads.floor import Floor
from heads.settings import LEAST_TEMPERATURE
from registry.errors import GenerationError, IncompatibleError
from tests.heads.models import VOCAB, chain, noisy, random_head, tiny

PROMPT = [3, 14, 15]
BYTES = 258


@pytest.fixture(scope="module")
def pair() -> Cascade:
    return Cascade(chain("llama", 2), [random_head()], names=["small", "large"])


@pytest.fixture(scope="module")
def talking(byte_tokenizer: PreTrainedTokenizerFast) -> Cascade:
    """Two models over bytes, with two rows of padding."""
    model = tiny(vocab_size=BYTES + 2, seed=5)
    return Cascade([noisy(model, noise=0.3), model], tokenizer=byte_tokenizer)


def refusal(cascade: Cascade, prompt: Any = PROMPT, **options: Any) -> GenerationError:
    with pytest.raises(GenerationError) as caught:
        cascade.generate(prompt, **options)
    return caught.value


# what fits


def test_a_head_of_another_width_is_refused() -> None:
    """
    The head must be as wide as its source's hidden state.
    """
    with pytest.raises(IncompatibleError) as caught:
        Cascade(chain("llama", 2), [random_head(24)])

    assert (caught.value.field, caught.value.expected, caught.value.found) == ("hidden_size", 16, 24)


def test_a_head_too_many_is_refused() -> None:
    """
    One per neighbouring pair.
    """
    with pytest.raises(IncompatibleError, match="number of heads"):
        Cascade(chain("llama", 2), [random_head(), None])


def test_no_models_are_refused() -> None:
    """
    A cascade has at least one.
    """
    with pytest.raises(IncompatibleError, match="at least 1"):
        Cascade([])


@pytest.mark.parametrize(
    ("widths", "shared"), [((700, 700), 700), ((640, 700), 640), ((700, 512), 512)], ids=str
)
def test_padding_is_cut_to_the_narrowest(widths: tuple[int, int], shared: int) -> None:
    """
    Output layers that differ by 512 rows or less are one vocabulary, padded.
    """
    cascade = Cascade([tiny(vocab_size=width) for width in widths])

    assert cascade.vocab_size == shared
    assert max(cascade.generate(PROMPT, max_new_tokens=6, temperature=9.0).token_ids) < shared


def test_different_vocabularies_are_refused() -> None:
    """
    More than padding apart, and no tokenizer to say otherwise.
    """
    with pytest.raises(IncompatibleError) as caught:
        Cascade([tiny(vocab_size=61), tiny(vocab_size=700)])

    assert caught.value.field == "vocabulary"


def test_a_tokenizer_cuts_the_padding(byte_tokenizer: PreTrainedTokenizerFast) -> None:
    """
    Rows past the tokenizer are never drawn, however wide each model is.
    """
    cascade = Cascade([tiny(vocab_size=1000), tiny(vocab_size=BYTES + 40, seed=2)], tokenizer=byte_tokenizer)

    out = cascade.generate([1], max_new_tokens=25, temperature=50.0, eos_token_id=[])

    assert cascade.vocab_size == BYTES
    assert max(out.token_ids) < BYTES


def test_a_model_narrower_than_the_tokenizer_is_refused(byte_tokenizer: PreTrainedTokenizerFast) -> None:
    """
    A draft without a row for every token of the tokenizer is not of this vocabulary.
    """
    with pytest.raises(IncompatibleError, match="vocabulary"):
        Cascade([tiny(vocab_size=100), tiny(vocab_size=BYTES)], tokenizer=byte_tokenizer)


def test_models_put_in_training_mode_later_are_refused(pair: Cascade) -> None:
    """
    The mode is looked at again before each text.
    """
    pair.models[0].train()
    try:
        with pytest.raises(IncompatibleError, match="mode"):
            pair.generate(PROMPT)
    finally:
        pair.models[0].eval()


def test_a_part_of_a_model_in_training_mode_is_refused(pair: Cascade) -> None:
    """
    Dropout in its layers would be as random as dropout in all of it; the part is named.
    """
    layer = pair.models[1].get_submodule("model.layers.1")
    layer.train()
    try:
        with pytest.raises(IncompatibleError, match=r"train, in its model\.layers\.1"):
            pair.generate(PROMPT)
    finally:
        layer.eval()


# what is refused


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 2.5},
        {"max_new_tokens": True},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": "hot"},
        {"temperature": 1e-300},
        pytest.param({"temperature": 10**400}, id="more than any float"),
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"shared_noise": "no"},
        {"shared_noise": np.array([True, True])},
        {"schedule": np.array(["heads", "fixed"])},
        {"seed": -1},
        {"seed": None},
        {"min_draft": 0},
        {"max_draft": 0},
        {"min_draft": 9},
        {"max_draft": [4, 4]},
        {"max_draft": b"a"},
        {"threshold": 1.5},
        {"threshold": []},
        {"stop": ""},
        {"stop": [1]},
        {"stop": "x"},
        {"eos_token_id": -1},
        {"eos_token_id": "</s>"},
        {"eos_token_id": ""},
        {"eos_token_id": 2**63},
        pytest.param({"eos_token_id": torch.empty(2, dtype=torch.long, device="meta")}, id="meta end tokens"),
        pytest.param({"eos_token_id": torch.tensor([3]).to_sparse()}, id="sparse end tokens"),
        {"eos_token_id": [np.int64(3), True]},
    ],
    ids=str,
)
def test_an_option_out_of_range_is_named(pair: Cascade, options: dict[str, Any]) -> None:
    """
    What, expected, got: by the option's own name.
    """
    error = refusal(pair, **options)

    assert error.option == next(iter(options))
    assert error.expected in str(error)


@pytest.mark.parametrize(
    "prompt",
    [
        "text, but there is no tokenizer",
        [],
        [[1, 2]],
        [1, VOCAB],
        [-1],
        [1.0],
        torch.ones(2, 3, dtype=torch.long),
        torch.ones(3),
        torch.ones(3, dtype=torch.long, device="meta"),
        torch.ones(3, dtype=torch.long).to_sparse(),
        None,
    ],
    ids=[
        "text",
        "empty",
        "nested",
        "past the vocabulary",
        "negative",
        "float",
        "batch",
        "float tensor",
        "meta tensor",
        "sparse tensor",
        "none",
    ],
)
def test_a_prompt_that_is_none_is_refused(pair: Cascade, prompt: Any) -> None:
    """
    One text, of tokens that every model knows.
    """
    assert refusal(pair, prompt).option == "prompt"


@pytest.mark.parametrize(("prompt", "new"), [(120, 9), (128, 1), (400, 1)])
def test_what_passes_the_models_positions_is_refused(pair: Cascade, prompt: int, new: int) -> None:
    """
    Beyond 128 positions the text would be silently wrong.
    """
    assert "128 positions" in str(refusal(pair, [1] * prompt, max_new_tokens=new))


def test_the_last_position_can_be_used(pair: Cascade) -> None:
    """
    Prompt and new tokens may fill all 128.
    """
    assert pair.generate([1] * 120, max_new_tokens=8, eos_token_id=[]).new_tokens == 8


def test_logits_that_are_no_numbers_are_refused() -> None:
    """
    A model that overflowed says so, instead of some token.
    """
    model = tiny()
    with torch.no_grad():
        model.get_output_embeddings().weight[3].fill_(torch.nan)

    for temperature in (0.0, 1.0):
        assert "NaN" in str(refusal(Cascade([model]), temperature=temperature))


@pytest.mark.parametrize("ahead", [False, True], ids=["waiting", "ahead"])
def test_the_least_temperature_draws_the_most_probable_token(pair: Cascade, *, ahead: bool) -> None:
    """
    What is not refused can be divided by.
    """
    pair.ahead = ahead
    try:
        found = pair.generate(PROMPT, max_new_tokens=6, temperature=LEAST_TEMPERATURE).token_ids
    finally:
        pair.ahead = False

    assert found == pair.generate(PROMPT, max_new_tokens=6).token_ids


# what comes back


def test_a_prompt_may_come_in_three_shapes(pair: Cascade) -> None:
    """
    A list, (T,) and (1, T) are one prompt.
    """
    texts = [
        pair.generate(prompt, max_new_tokens=6).token_ids
        for prompt in (PROMPT, torch.tensor(PROMPT), torch.tensor([PROMPT]))
    ]

    assert texts[0] == texts[1] == texts[2]


def test_reports_tell_the_truth() -> None:
    """
    Forwards are the models' own calls, and the target's rounds and acceptances add up to the text.
    """
    models = chain("llama", 3)
    calls = [0, 0, 0]

    def count(index: int) -> Any:
        def hook(*_: object) -> None:
            calls[index] += 1

        return hook

    cascade = Cascade(models, names=["a", "b", "c"])
    for index, model in enumerate(models):
        model.register_forward_hook(count(index))
    out = cascade.generate(PROMPT, max_new_tokens=21, max_draft=[2, 5])

    assert [level.forwards for level in out.levels] == calls
    assert [level.model for level in out.levels] == ["a", "b", "c"]
    low, middle, top = out.levels
    assert low.proposed is not None
    assert low.accepted is not None
    assert low.proposed >= low.accepted > 0
    assert middle.accepted is not None
    assert out.new_tokens == 21 == middle.accepted + top.forwards
    assert (top.proposed, top.accepted) == (None, None)
    assert (out.prompt_tokens, out.finish_reason, out.text) == (3, "length", None)
    assert out.seconds > 0
    assert out.tokens_per_second == out.new_tokens / out.seconds


def test_end_tokens_come_from_the_target() -> None:
    """
    Its generation config names them, unless the caller does; an empty list is none.
    """
    cascade = Cascade(chain("llama", 2))
    longest = cascade.generate(PROMPT, max_new_tokens=8).token_ids
    end = longest[3]
    first = longest.index(end)
    assert cascade.models[-1].generation_config is not None
    cascade.models[-1].generation_config.eos_token_id = [end]

    default = cascade.generate(PROMPT, max_new_tokens=8)
    one: Any = np.int64(longest[0])
    named = cascade.generate(PROMPT, max_new_tokens=8, eos_token_id=one)
    none = cascade.generate(PROMPT, max_new_tokens=8, eos_token_id=[])

    assert (default.token_ids, default.finish_reason) == (longest[: first + 1], "eos")
    assert (named.token_ids, named.finish_reason) == (longest[:1], "eos")
    assert (none.token_ids, none.finish_reason) == (longest, "length")


def test_text_is_encoded_and_decoded(talking: Cascade) -> None:
    """
    A str goes through the tokenizer, and the new tokens come back as text.
    """
    assert talking.tokenizer is not None

    out = talking.generate("héllo", max_new_tokens=5)

    assert out.prompt_tokens == 6
    assert out.text == talking.tokenizer.decode(out.token_ids, skip_special_tokens=True)
    assert (
        out.token_ids == talking.generate(talking.tokenizer("héllo")["input_ids"], max_new_tokens=5).token_ids
    )


def test_an_empty_text_begins_with_the_begin_token(talking: Cascade) -> None:
    """
    Where the tokenizer has one, it stands for an empty prompt.
    """
    out = talking.generate("", max_new_tokens=3)

    assert out.prompt_tokens == 1
    assert out.token_ids == talking.generate([256], max_new_tokens=3).token_ids


def test_a_stop_string_ends_the_text(talking: Cascade) -> None:
    """
    The token that completes it is the last, wherever the tokens split it, and the text still holds it.
    """

    def text_of(token_ids: list[int]) -> str:
        assert talking.tokenizer is not None
        return str(talking.tokenizer.decode(token_ids))

    options: dict[str, Any] = {"max_new_tokens": 24, "temperature": 4.0, "eos_token_id": []}
    longest = talking.generate("a", **options).token_ids
    pairs = [longest[at : at + 2] for at in range(2, 23)]
    stop = next(text_of(two) for two in pairs if max(two) < 256 and "\ufffd" not in text_of(two))
    first = next(count for count in range(1, 25) if stop in text_of(longest[:count]))

    out = talking.generate("a", **options, stop=["never", stop])

    assert (out.token_ids, out.finish_reason) == (longest[:first], "stop")
    assert out.text is not None
    assert stop in out.text


class Recorder:
    """Keeps what a streamer is given; raises at the n-th put, if told so."""

    def __init__(self, fail_at: int | None = None, error: type[BaseException] = ValueError) -> None:
        self.puts: list[Tensor] = []
        self.ends = 0
        self.fail_at = fail_at
        self.error = error

    def put(self, value: Tensor) -> None:
        if len(self.puts) == self.fail_at:
            raise self.error("enough")
        self.puts.append(value)

    def end(self) -> None:
        self.ends += 1


def test_a_streamer_gets_what_plain_generate_gives_it(pair: Cascade) -> None:
    """
    The prompt as (1, T), each token as (1,), and one end.
    """
    ours, theirs = Recorder(), Recorder()
    ids = torch.tensor([PROMPT])

    pair.generate(PROMPT, max_new_tokens=7, streamer=ours)
    pair.models[-1].generate(  # type: ignore[operator]
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=7, streamer=theirs
    )

    assert [value.tolist() for value in ours.puts] == [value.tolist() for value in theirs.puts]
    assert all(value.dtype == torch.long for value in ours.puts)
    assert ours.ends == theirs.ends == 1


class Keeper(Recorder):
    """Writes to what it is given, and computes with it."""

    def put(self, value: Tensor) -> None:
        super().put(value.mul_(2) + torch.zeros_like(value))
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


def test_what_a_streamer_gets_is_its_own(pair: Cascade) -> None:
    """
    Plain tensors, outside of inference mode, as plain generate gives: they may be changed, then and later.
    """
    streamer = Keeper()

    found = pair.generate(PROMPT, max_new_tokens=3, streamer=streamer).token_ids

    told = torch.cat([value.reshape(-1) for value in streamer.puts]).floor_divide_(2)
    assert told.tolist() == [*PROMPT, *found]
    assert not any(value.is_inference() for value in streamer.puts)


def test_a_text_streamer_prints_the_text(talking: Cascade, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Transformers' own streamer, prompt skipped, prints what the result holds.
    """
    streamer = TextStreamer(talking.tokenizer, skip_prompt=True, skip_special_tokens=True)  # type: ignore[arg-type]

    out = talking.generate("ab", max_new_tokens=9, streamer=streamer)

    assert capsys.readouterr().out == f"{out.text}\n"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("fail_at", [0, 3])
def test_a_streamer_that_fails_breaks_nothing(
    pair: Cascade, fail_at: int, error: type[BaseException]
) -> None:
    """
    Its error comes through, and the next text is what it would have been.
    """
    expected = pair.generate(PROMPT, max_new_tokens=7).token_ids

    with pytest.raises(error, match="enough"):
        pair.generate(PROMPT, max_new_tokens=7, streamer=Recorder(fail_at, error))

    assert pair.generate(PROMPT, max_new_tokens=7).token_ids == expected


def test_who_has_read_the_end_may_ask_for_the_next_text(pair: Cascade) -> None:
    """
    As a reader in another thread does at once: a streamer's end is the end, and the cascade is free.
    """
    texts = []

    class Asking(Recorder):
        def end(self) -> None:
            super().end()
            texts.append(pair.generate(PROMPT, max_new_tokens=7).token_ids)

    texts.append(pair.generate(PROMPT, max_new_tokens=7, streamer=Asking()).token_ids)

    assert texts[0] == texts[1]


def test_a_refused_text_ends_its_streamer(pair: Cascade) -> None:
    """
    Who reads it in another thread is not left waiting for a text that never comes.
    """
    refused = Recorder()

    class Asking(Recorder):
        def put(self, value: Tensor) -> None:
            super().put(value)
            with pytest.raises(GenerationError, match="called on an idle cascade"):
                pair.generate(PROMPT, max_new_tokens=7, streamer=refused)

    pair.generate(PROMPT, max_new_tokens=1, streamer=Asking())

    assert (refused.puts, refused.ends) == ([], 2)  # refused at the prompt, and at the token


def test_an_interrupted_model_breaks_nothing(pair: Cascade) -> None:
    """
    Interrupted in a forward: the streamer is told the end, and the next text is what it would have been.
    """
    expected = pair.generate(PROMPT, max_new_tokens=7).token_ids
    calls = 0

    def interrupt(_module: nn.Module, _inputs: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    recorder = Recorder()
    handle = pair.models[0].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        pair.generate(PROMPT, max_new_tokens=7, streamer=recorder)
    handle.remove()

    assert recorder.ends == 1
    assert pair.generate(PROMPT, max_new_tokens=7).token_ids == expected


def test_a_second_interruption_leaves_the_cascade_free(
    pair: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It comes while caches are let go of; the next text is what it would have been.
    """
    expected = pair.generate(PROMPT, max_new_tokens=7).token_ids

    def interrupt(_level: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EagerLevel, "end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pair.generate(PROMPT, max_new_tokens=7, streamer=Recorder(3))

    assert pair.generate(PROMPT, max_new_tokens=7).token_ids == expected


def test_an_interruption_at_any_call_leaves_the_cascade_free(pair: Cascade) -> None:
    """
    Python raises it where a call begins or has come back, and so between taking the floor and the text itself.
    """
    alone = pair.part([1])
    expected = alone.generate(PROMPT, max_new_tokens=1).token_ids
    door = {Cascade._alone.__code__.co_filename, Floor.__init__.__code__.co_filename}
    calls = interrupted = 0

    def interrupt(frame: FrameType, event: str, _what: object) -> None:
        nonlocal calls
        if event in {"call", "c_return"} and frame.f_code.co_filename in door:
            calls += 1
            if calls > interrupted:
                raise KeyboardInterrupt

    while True:
        calls = 0
        sys.setprofile(interrupt)
        try:
            found = alone.generate(PROMPT, max_new_tokens=1).token_ids
        except KeyboardInterrupt:
            interrupted += 1
        else:
            break
        finally:
            sys.setprofile(None)
        assert alone.generate(PROMPT, max_new_tokens=1).token_ids == expected, interrupted

    assert found == expected
    assert interrupted > 10


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.0},
        {"temperature": 1.0, "shared_noise": True},
        {"repetition_penalty": 5.0},
    ],
    ids=str,
)
def test_a_default_device_changes_nothing(pair: Cascade, options: dict[str, Any]) -> None:
    """
    The host's own numbers stay on the host, wherever torch is told to make others.
    """
    expected, streamer = pair.generate(PROMPT, max_new_tokens=7, **options).token_ids, Recorder()

    with torch.device("meta"):  # as 'cuda', where there is none: no number of it can be read
        found = pair.generate(PROMPT, max_new_tokens=7, streamer=streamer, **options).token_ids

    assert found == expected
    assert [int(value) for value in streamer.puts[1:]] == expected


class Reentrant(Recorder):
    """Asks for another text while one is being made."""

    def __init__(self, cascade: Cascade) -> None:
        super().__init__()
        self.cascade = cascade

    def put(self, value: Tensor) -> None:
        self.cascade.generate(value.reshape(-1).tolist())


def test_one_text_at_a_time(pair: Cascade) -> None:
    """
    A call inside a call would share its caches: it is refused, and the cascade is free again afterwards.
    """
    assert refusal(pair, streamer=Reentrant(pair)).option == "generate"
    assert pair.generate(PROMPT, max_new_tokens=2).new_tokens == 2


def test_a_notebook_shows_what_it_is(pair: Cascade) -> None:
    """
    The chain and its engine in one line; of a text what it says and what each model did, not every number.
    """
    out = pair.generate(PROMPT, max_new_tokens=3)

    assert repr(pair) == f"Cascade({' -> '.join(pair.names)}, eager)"
    assert "finish_reason='length'" in repr(out)
    assert "token_ids" not in repr(out)
    assert "proposed_at" not in repr(out)


def test_a_result_is_frozen(pair: Cascade) -> None:
    """
    What was decoded stays as it was reported.
    """
    out = pair.generate(PROMPT, max_new_tokens=1)

    assert isinstance(out, Generation)
    with pytest.raises(AttributeError):
        out.text = "other"  # type: ignore[misc]


def test_a_name_in_the_place_of_a_model_is_refused() -> None:
    """
    It says what loads one.
    """
    model: Any = "Qwen/Qwen3-0.6B"

    with pytest.raises(IncompatibleError, match=r"models\[0\].*from_pretrained"):
        Cascade([model])


@pytest.mark.parametrize("kind", ["a head", "a classifier"])
def test_what_generates_nothing_is_no_model(kind: str) -> None:
    """
    It has weights and a config, but no text comes of it: that is told when the cascade is built.
    """
    config = tiny().config
    other: Any = random_head() if kind == "a head" else LlamaForSequenceClassification(config).eval()

    with pytest.raises(IncompatibleError, match=r"models\[0\]: type does not fit: expected a causal LM"):
        Cascade([other])


@pytest.mark.parametrize(
    ("field", "given"),
    [("models", None), ("models", "alone"), ("heads", "alone"), ("heads", 5), ("names", "ab"), ("names", 5)],
    ids=str,
)
def test_one_thing_alone_is_no_list(pair: Cascade, field: str, given: Any) -> None:
    """
    A model, a head or a name by itself: the error says to give a list, also of one.
    """
    alone: dict[str, Any] = {"models": pair.models[0], "heads": pair.heads[0]}
    given = alone[field] if given == "alone" else given
    options: dict[str, Any] = {"models": pair.models} | {field: given}

    with pytest.raises(IncompatibleError, match=rf"{field} does not fit.* Give {field}=\[...\]"):
        Cascade(**options)


@pytest.mark.parametrize("head", ["mine", False, nn.Linear(16, 2)], ids=lambda head: type(head).__name__)
def test_what_is_no_head_is_refused(pair: Cascade, head: Any) -> None:
    """
    By its type, with what loads one.
    """
    with pytest.raises(IncompatibleError, match=r"the head .*expected an AcceptancePredictionHead, or None"):
        Cascade(pair.models, [head])


@pytest.mark.parametrize("tokenizer", ["gpt2", 5, PreTrainedTokenizerFast, [1]], ids=str)
def test_what_is_no_tokenizer_is_refused(pair: Cascade, tokenizer: Any) -> None:
    """
    A name, a class, a list: the error says what loads one.
    """
    with pytest.raises(IncompatibleError, match=r"tokenizer does not fit.*AutoTokenizer"):
        Cascade(pair.models, None, tokenizer)


@pytest.mark.parametrize(
    "places", [[], [2], [-1], [1, 0], [0, 0], [0.0], ["0"], [False], 0, None, "01"], ids=str
)
def test_a_part_is_of_some_of_the_models_in_order(pair: Cascade, places: Any) -> None:
    """
    One model twice would have one cache for two levels; others are not there, or stand the wrong way round.
    """
    with pytest.raises(GenerationError, match="places must be some of the models' places, 0 to 1, ascending"):
        pair.part(places)


@pytest.mark.parametrize(("option", "value"), [("positions", 0), ("positions", "8"), ("max_draft", 0)])
def test_what_is_warmed_up_for_is_in_range(pair: Cascade, option: str, value: Any) -> None:
    """
    For eager models, too, of which nothing is recorded.
    """
    options: dict[str, Any] = {"positions": 8} | {option: value}

    with pytest.raises(GenerationError, match=f"{option} must be"):
        pair.warm_up(**options)

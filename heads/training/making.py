"""The three steps of a training, each taken up where it was broken off, and the head that comes of them."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from heads.head import AcceptancePredictionHead
from heads.training.calibrating import full_calibration
from heads.training.features import Positions, bytes_of, read_examples
from heads.training.holding import held
from heads.training.learning import Trained, train_head
from heads.training.order import Order
from heads.training.pair import Pair
from heads.training.plan import Plan, entry_digest, prompts_digest
from heads.training.quality import head_quality
from heads.training.recalibrating import greedy_outlook
from heads.training.room import megabytes, room_told
from heads.training.splitting import held_out_of
from heads.training.steps import Bar, Say, Steps
from heads.training.storing import is_stored, store_head
from registry.card import head_card
from registry.editing.entering import enter_head, require_enterable
from registry.files.calibrationfile import parse_calibration
from registry.files.filenames import CALIBRATION, CARD, EVALUATION, TRAINER_STATE
from registry.files.wholefile import put_whole
from registry.records import Calibration, Head
from registry.training import parse_trainer_state

if TYPE_CHECKING:
    from registry.shelf import Shelf

WORK: Final = ".work"
FORMAT: Final = 2  # of what the steps leave: another is not taken up


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A training's end: the head's folder and entry, what it is worth, and what it cost."""

    folder: Path
    catalog: Path
    work: Path
    head: Head
    calibration: Calibration | None
    evaluation: dict[str, Any]
    costs: dict[str, Any]


class HeadMaking:
    """One head on its way. `run` goes through all steps that are not done yet."""

    def __init__(
        self,
        shelf: Shelf,
        order: Order,
        out: Path,
        *,
        file: Path,
        device: str | None = None,
        dtype: str | None = None,
        say: Say = lambda _: None,
        bar: Bar = lambda total, what: nullcontext(lambda done: None),  # noqa: ARG005
    ) -> None:
        """Look at all that can be refused before anything is computed.

        Args:
            shelf: The two models, and their records.
            order: What is asked for.
            out: Receives `<source>--to--<target>/<run>/`, and a folder `.work` for the steps.
            file: The catalog that gets the entry; the lock beside it gets the record.
            device, dtype: As for decoding.
            say: Told one line at a time of what is done, and of what it will take.
            bar: Shows how far a step is.

        Raises:
            UsageError: the work folder holds another training, or `out` does not lie below the catalog's folder.
            NotInstalledError, CheckpointError, IncompatibleError: as for `Pair`.
        """
        self._shelf, self._order, self._out, self._file = shelf, order, out, file
        self._say, self._bar = say, bar
        require_enterable(file, out)
        self._pair = Pair(shelf, order.source, order.target, device=device, dtype=dtype)
        self._prompts = self._pair.encoded(order.prompts, chat=order.chat, new_tokens=order.max_new_tokens)
        self._held_out = held_out_of([tuple(ids) for ids in self._prompts], order.held_out)
        self.folder = out / order.edge / order.run
        self.work = out / WORK / order.edge / order.run
        Plan(facts=self._facts()).keep(self.work)
        self._steps = Steps(self._pair, order, self._prompts, self.work, say=say, bar=bar)
        self._features = self._steps.shards

    def run(self) -> Outcome:
        """Texts, features, weights; then folder, catalog entry and record.

        Raises:
            CheckpointError: a shard is not what was written; it is named.
            UsageError: the disk has no room, the head's folder holds another head, or another process is at work.
        """
        with held(self.work), room_told(self.work, "What the training leaves"):
            return self._run()

    def _run(self) -> Outcome:
        if is_stored(self.folder, self.work):
            self._say(f"{self.folder} is there already.")
        else:
            self._say(self._prospect())
            seconds = {}
            steps = (
                ("texts", self._steps.texts),
                ("features", self._steps.features),
                ("training", self._stored),
            )
            for name, step in steps:
                began = time.monotonic()
                if step():
                    seconds[name] = time.monotonic() - began
            self._note_costs(seconds)
        return self._entered()

    def trained(self) -> tuple[Trained, Positions]:
        """Step three: the head, and the positions that were held out."""
        train, held_out = read_examples(self._features, self._held_out)
        training = self._order.training
        self._say(
            f"Step 3 of 3: training on {len(train):,} positions; {len(held_out):,} more, of the prompts held out "
            f"({len(self._held_out):,} of {len(self._prompts):,}), judge the head."
        )
        with self._bar(1000, "training") as told:
            trained = train_head(
                train,
                held_out,
                training=training,
                work=self.work / "training",
                features=self._features.digest(),
                device=str(self._pair.device),
                step=lambda done, total: told(1000 * done // max(total, 1)),
            )
        return trained, held_out

    def _stored(self) -> bool:
        trained, held_out = self.trained()
        head, order = trained.head, self._order
        evaluation: dict[str, Any] = {}
        if len(held_out):
            evaluation = head_quality(head, held_out, mismatch_weight=order.training.mismatch_weight)
            evaluation["on"] = f"the {len(self._held_out)} prompts held out, {order.labels} labels"
        if len(held_out) and order.calibrate:
            head.calibration = self._calibration(head, held_out)
        state = parse_trainer_state(trained.trainer_state, file=TRAINER_STATE)
        card = head_card(
            source=order.source,
            target=order.target,
            head=Head.model_construct(
                source=order.source.alias, target=order.target.alias, run=order.run, from_=""
            ),
            config=head.config,
            training=state,
            evaluation=evaluation or None,
            calibration=head.calibration,
            license=order.license,
        )
        more = {CARD: card.encode()}
        if evaluation:
            more[EVALUATION] = (json.dumps(evaluation, indent=2) + "\n").encode()
        store_head(head, self.folder, trainer_state=trained.trainer_state, more=more, work=self.work)
        return True

    def _calibration(self, head: AcceptancePredictionHead, held_out: Positions) -> Calibration:
        """By the positions held out; for greedy decoding by greedy texts after the same prompts."""
        order, weight = self._order, self._order.training.mismatch_weight
        greedy = order.warper.temperature == 0
        found = full_calibration(head, held_out, mismatch_weight=weight, greedy=greedy)
        if greedy:
            return found
        outlook = greedy_outlook(
            self._pair,
            head,
            [self._prompts[one] for one in self._held_out],
            mismatch_weight=weight,
            max_new_tokens=order.max_new_tokens,
            seed=order.seed,
            batch_size=order.batch_size,
            bar=self._bar,
        )
        head.cpu()
        return found if outlook is None else found.model_copy(update={"greedy": outlook})

    def _entered(self) -> Outcome:
        """The catalog's entry and the record, of what lies in the head's folder."""
        state = parse_trainer_state((self.folder / TRAINER_STATE).read_bytes(), file=TRAINER_STATE)
        beside = self.folder / CALIBRATION
        calibration = parse_calibration(beside.read_bytes(), file=str(beside)) if beside.exists() else None
        head = enter_head(
            self._file,
            self._out,
            source=self._order.source.alias,
            target=self._order.target.alias,
            run=self._order.run,
            training=state.summary().model_dump(exclude_none=True),
            calibration=calibration,
        )
        evaluation = self.folder / EVALUATION
        return Outcome(
            folder=self.folder,
            catalog=self._file,
            work=self.work,
            head=head,
            calibration=calibration,
            evaluation=json.loads(evaluation.read_text()) if evaluation.exists() else {},
            costs=self._costs(),
        )

    def _facts(self) -> dict[str, Any]:
        order, records = self._order, self._shelf.lock.models
        return {
            "format": FORMAT,
            **order.facts(),
            "prompts": prompts_digest(self._prompts),
            "source files": entry_digest(records.get(order.source.alias)),
            "target files": entry_digest(records.get(order.target.alias)),
            "device": self._pair.device.type,
            "dtype": str(self._pair.feature_dtype).removeprefix("torch."),
        }

    def _prospect(self) -> str:
        """What all of it will take at most, said before anything is made."""
        order = self._order
        most = len(self._prompts) * order.max_new_tokens
        size = bytes_of(most, self._pair.hidden_size, self._pair.feature_dtype)
        dropped = len(order.prompts) - len(self._prompts)
        told = (
            f"; {dropped:,} more {'is' if dropped == 1 else 'are'} too long and left out" if dropped else ""
        )
        alone = order.held_out > 0 and not self._held_out
        judged = ". None can be held out: the head will be neither evaluated nor calibrated" if alone else ""
        count = f"{len(self._prompts):,} prompt{'s' if len(self._prompts) != 1 else ''}"
        return (
            f"{order.name}: {count}{told}, {len(self._held_out):,} of them held out; features will take at most "
            f"{megabytes(size)}{judged}."
        )

    def _note_costs(self, seconds: dict[str, float]) -> None:
        """Keep what the steps took; of a step that was broken off only its last part is known."""
        known = self._costs()
        told = {
            "prompts": len(self._prompts),
            "positions": self._features.rows,
            "feature_bytes": self._features.size_bytes,
            "seconds": {
                **known.get("seconds", {}),
                **{key: round(value, 2) for key, value in seconds.items()},
            },
        }
        put_whole((json.dumps(told, indent=2) + "\n").encode(), self.work / "costs.json")

    def _costs(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.work / "costs.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

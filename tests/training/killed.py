"""Trainings killed by SIGKILL at random moments, and each then ended.

One process loads the libraries; every training is a child of its own, forked before a tensor was computed with.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

from registry.cli import main

EDGE, NAME = "pico-little--to--pico-draft", "exp-weight6-layer1"


def contents(folder: Path) -> dict[str, bytes]:
    """The head's files; of the Trainer's state, which tells times, the log without them."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    state = json.loads(found.pop("trainer_state.json"))
    clock = ("runtime", "per_second", "total_flos")
    log = [{k: v for k, v in row.items() if not k.endswith(clock)} for row in state["log_history"]]
    return {**found, "log": json.dumps(log).encode()}


def started(prompts: str, out: Path) -> int:
    """A child that trains into `out`."""
    child = os.fork()
    if child:
        return child
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    code = 9
    try:
        main(
            [
                *(
                    "train",
                    "pico-little",
                    "pico-draft",
                    "--prompts",
                    prompts,
                    "--out",
                    str(out),
                    "--run",
                    NAME,
                ),
                *("--max-new-tokens", "8", "--layers", "1", "--epochs", "2", "--held-out", "0.2"),
            ]
        )
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os._exit(code)


def told(prompts: str, folder: Path, kills: int) -> dict[str, object]:
    """How many were killed, in which step, and how many ended otherwise than one that was left alone."""
    began = time.monotonic()
    os.waitpid(started(prompts, folder / "whole"), 0)
    took = time.monotonic() - began
    whole = contents(folder / "whole" / EDGE / NAME)
    chance, killed, different, steps = random.Random(0), 0, 0, set()  # noqa: S311 - only moments are chosen
    for number in range(2 * kills):
        if killed == kills:
            break
        out = folder / str(number)
        child = started(prompts, out)
        time.sleep(took * (killed + chance.random()) / kills)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):
            took *= 0.8  # it was faster than the first, beside which others may have been at work
        work = out / ".work" / EDGE / NAME
        reached = [
            step for step in ("texts", "features", "training") if (work / step / "index.json").exists()
        ]
        steps.add("training" if list(work.glob("training/checkpoint-*")) else (reached or ["before"])[-1])
        _, status = os.waitpid(started(prompts, out), 0)
        ended = os.waitstatus_to_exitcode(status) == 0 and (out / "catalog.lock").exists()
        different += not (ended and contents(out / EDGE / NAME) == whole)
    return {"killed": killed, "different": different, "steps": sorted(steps)}


def load() -> None:
    """What a training imports in its course, once for all children."""
    for module in (
        *("accelerate", "heads.training.making", "registry.cli.train", "registry.shelf"),
        *("transformers.models.llama.modeling_llama", "transformers.models.auto.tokenization_auto"),
        *("torch._dynamo", "tokenizers"),
    ):
        import_module(module)
    gc.freeze()  # what all children share, none of them looks through


if __name__ == "__main__":
    load()
    sys.stdout.write(json.dumps(told(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))

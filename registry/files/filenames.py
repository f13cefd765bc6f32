"""What the files of a checkpoint are called."""

from __future__ import annotations

from typing import Final

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
INDEX: Final = f"{WEIGHTS}.index.json"
PICKLE: Final = "pytorch_model.bin"
PICKLE_INDEX: Final = f"{PICKLE}.index.json"
CALIBRATION: Final = "calibration.json"
TRAINER_STATE: Final = "trainer_state.json"
EVALUATION: Final = "evaluation.json"
CARD: Final = "README.md"

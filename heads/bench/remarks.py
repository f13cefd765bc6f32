"""What transformers remarks on its own inner calls while it is measured: nothing that a user could mend."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SPEAKER: Final = "transformers.generation.utils"
REMARK: Final = "Passing `generation_config` together with"  # so the library itself calls the assisting model


@contextmanager
def no_remarks() -> Iterator[None]:
    """Keep that one remark back; all else that the library says is heard."""
    speaker = logging.getLogger(SPEAKER)

    def others(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(REMARK)

    speaker.addFilter(others)
    try:
        yield
    finally:
        speaker.removeFilter(others)

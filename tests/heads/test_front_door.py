"""What `import heads` shows."""

from __future__ import annotations

from types import ModuleType

import heads


def test_the_front_door_lists_what_is_visible() -> None:
    """
    `__all__` names everything public but the rooms themselves, in order.
    """
    visible = [
        name for name, value in vars(heads).items() if name[0] != "_" and not isinstance(value, ModuleType)
    ]

    assert sorted(visible) == heads.__all__ == sorted(heads.__all__)

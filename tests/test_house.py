"""The house: what may import what, and what each front door shows."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = sorted([*(ROOT / "registry").rglob("*.py"), *(ROOT / "heads").rglob("*.py")])
DOORS_TO_HEADS = {
    "registry/cli/bench.py",
    "registry/cli/calibrate.py",
    "registry/cli/convert.py",
    "registry/cli/decode.py",
    "registry/cli/doctor.py",
    "registry/cli/evaluate.py",
    "registry/cli/measure.py",
    "registry/cli/train.py",
    "registry/cli/tune.py",
    "registry/pipeline.py",
}
ROOM_OF: dict[str, str | tuple[str, ...]] = {
    "click": "registry/cli/",
    "rich": "registry/cli/",
    "huggingface_hub": "registry/hub/",
    "yaml": ("registry/reading/yaml_", "registry/editing/yaml_"),
    "sqlmodel": "registry/store/",
    "sqlalchemy": "registry/store/",
    "alembic": "registry/store/migrat",
}


@cache
def imports_of(path: Path, *, type_checking: bool = False) -> frozenset[str]:
    """Full names of all modules a file imports, bodies of functions included, those for types alone left out."""
    found: set[str] = set()
    for node in _nodes(ast.parse(path.read_text()), type_checking=type_checking):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return frozenset(found)


def _nodes(tree: ast.AST, *, type_checking: bool) -> list[ast.AST]:
    nodes: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        guarded = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not guarded or type_checking:
            nodes.extend([node, *_nodes(node, type_checking=type_checking)])
    return nodes


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("package", ["registry", "heads"])
def test_front_door_lists_what_is_visible(package: str) -> None:
    """
    `__all__` is sorted and equals what the file imports, for use or for type checkers, each out of that very room.
    """
    door = importlib.import_module(package)
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    imported = {
        alias.asname or alias.name: node.module
        for node in _nodes(tree, type_checking=True)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}.")
        for alias in node.names
    }

    assert list(door.__all__) == sorted(door.__all__)
    assert set(door.__all__) == set(imported)
    for name, room in imported.items():
        assert getattr(door, name) is getattr(importlib.import_module(room or ""), name)


def test_front_door_of_heads_does_nothing_else() -> None:
    """
    The file of heads only imports and lists; that of registry fetches what it lists when it is asked for.
    """
    tree = ast.parse((ROOT / "heads" / "__init__.py").read_text())

    assert all(isinstance(node, (ast.ImportFrom, ast.Expr, ast.Assign)) for node in tree.body)


def test_front_door_of_registry_knows_no_other_name() -> None:
    """
    What the door does not list it does not have, and what it lists is shown before it was fetched.
    """
    door = importlib.import_module("registry")

    assert set(door.__all__) <= set(dir(door))
    with pytest.raises(AttributeError, match="has no attribute 'plans'"):
        _ = door.plans


@pytest.mark.parametrize(
    "room", [path for path in ROOMS if name_of(path).startswith("registry/")], ids=name_of
)
def test_registry_needs_no_tensors(room: Path) -> None:
    """
    No file of registry imports torch or transformers, and only the doors import heads.
    """
    tops = {name.split(".")[0] for name in imports_of(room)}

    assert not tops & {"torch", "transformers", "accelerate"}
    assert "heads" not in tops or name_of(room) in DOORS_TO_HEADS


@pytest.mark.parametrize("library", ROOM_OF)
def test_each_library_has_one_room(library: str) -> None:
    """
    An outside library is imported in its own room and nowhere else.
    """
    users = [name_of(path) for path in ROOMS if library in {name.split(".")[0] for name in imports_of(path)}]

    assert [user for user in users if not user.startswith(ROOM_OF[library])] == []


def test_no_room_of_registry_imports_in_a_circle() -> None:
    """
    Imports at the top of the files of registry form no cycle.
    """
    rooms = {
        name_of(path)[:-3].replace("/", "."): path for path in ROOMS if name_of(path).startswith("registry/")
    }
    waiting = {
        name: imports_of(path) & set(rooms) for name, path in rooms.items() if name != "registry.__init__"
    }
    while waiting:
        ready = {name for name, needs in waiting.items() if not needs & set(waiting)}
        assert ready, f"a cycle among {sorted(waiting)}"
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}


def test_importing_registry_loads_nothing_heavy() -> None:
    """
    In a fresh interpreter `import registry` leaves torch, transformers and the Hub's client alone.
    """
    code = (
        "import sys, registry\n"
        "found = {'torch', 'transformers', 'huggingface_hub', 'numpy', 'sqlmodel'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", ROOMS, ids=name_of)
def test_no_check_vanishes_under_optimisation(path: Path) -> None:
    """
    No room checks its input by assert.
    """
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text())))

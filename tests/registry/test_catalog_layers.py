from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from registry.catalog import builtin_catalog_path, builtin_lock_path, lay_over, load_catalog, lock_paths
from registry.errors import CatalogError
from registry.names import find_model
from registry.records import Catalog, Model


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_catalogs_lie_over_each_other(tmp_path: Path) -> None:
    """The environment's catalogs lie over the built-in one, and the caller's over those; entries whole."""
    one = write(
        tmp_path, "one.yaml", "version: 1\nmodels: {pico-little: {license: one}, mine: {license: one}}"
    )
    two = write(tmp_path, "two.yaml", "version: 1\nmodels: {mine: {gated: true}, other: {license: two}}")
    three = write(tmp_path, "three.yaml", "version: 1\nmodels: {other: {license: three}}")

    catalog = load_catalog(three, environ={"SPECREG_CATALOG": f"{one}{os.pathsep}{two}"})

    assert catalog.models["pico-little"] == Model(alias="pico-little", license="one", base=tmp_path)
    assert catalog.models["mine"] == Model(alias="mine", gated=True, base=tmp_path)
    assert catalog.models["other"].license == "three"
    assert catalog.models["pico-target"].hidden_size == 192


def test_head_replaces_the_one_of_the_same_run(tmp_path: Path) -> None:
    """A user's head takes the place of the built-in one with its source, target and run."""
    text = (
        "version: 1\nsources: {mine: {path: h}}\n"
        "heads: [{source: pico-little, target: pico-draft, run: exp-weight6-layer3, from: mine}]"
    )
    catalog = load_catalog(write(tmp_path, "mine.yaml", text), environ={})

    assert [head.from_ for head in catalog.heads if head.edge == "pico-little--to--pico-draft"] == ["mine"]
    assert len(catalog.heads) == len(load_catalog(environ={}).heads)


def test_entries_remember_the_folder_of_their_file(tmp_path: Path) -> None:
    """Relative paths start at the file that says them, also when it is given relative to the process."""
    (tmp_path / "deep").mkdir()
    path = write(
        tmp_path / "deep", "mine.yaml", "version: 1\nsources: {s: {path: ./h}}\nmodels: {m: {path: m}}"
    )
    relative = os.path.relpath(path)

    catalog = load_catalog(relative, environ={})

    assert catalog.sources["s"].base == catalog.models["m"].base == tmp_path / "deep"


def test_name_of_a_lower_catalog_cannot_be_claimed(tmp_path: Path) -> None:
    """A user's model may replace a built-in one by its alias, not take one of its other names."""
    path = write(tmp_path, "mine.yaml", "version: 1\nmodels: {my-qwen: {hub: qwen/qwen3-0.6b}}")

    with pytest.raises(CatalogError) as caught:
        load_catalog(path, environ={})

    (fault,) = caught.value.faults
    assert fault.path == "models.my-qwen.hub"
    assert fault.problem.endswith(
        "already names model 'qwen3-0.6b'; to replace its entry, call yours 'qwen3-0.6b'"
    )


def test_replaced_model_gives_its_names_up(tmp_path: Path) -> None:
    """Once a model's entry is replaced, names that only the old entry had are free."""
    text = "version: 1\nmodels: {llama-2-chat-70b: {}, mine: {hub: meta-llama/Llama-2-70b-chat-hf}}"
    catalog = load_catalog(write(tmp_path, "mine.yaml", text), environ={})

    assert find_model(catalog, "meta-llama/Llama-2-70b-chat-hf").alias == "mine"


def test_faults_of_all_files_come_together(tmp_path: Path) -> None:
    """A faulty file does not hide the next, and its names count, so that one fault brings no others."""
    one = write(tmp_path, "one.yaml", "version: 1\nmodels: {mine: {gated: maybe}}\nsources: {s: {}}")
    two = write(
        tmp_path,
        "two.yaml",
        "version: 1\nmodels: {x: {license: 1}}\nheads: [{source: mine, target: x, run: r, from: s}]",
    )

    with pytest.raises(CatalogError) as caught:
        load_catalog([one, two, tmp_path / "gone.yaml"], environ={})

    assert [(Path(fault.file).name, fault.path) for fault in caught.value.faults] == [
        ("one.yaml", "models.mine.gated"),
        ("one.yaml", "sources.s"),
        ("two.yaml", "models.x.license"),
        ("gone.yaml", ""),
    ]


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """A file that is not there is an error that cannot be overlooked, with the next step."""
    gone = tmp_path / "gone.yaml"

    with pytest.raises(CatalogError, match="no such file; check the path") as given:
        load_catalog(gone, environ={})
    with pytest.raises(CatalogError, match="no such file; SPECREG_CATALOG names it"):
        load_catalog(environ={"SPECREG_CATALOG": str(gone)})

    assert given.value.exit_code == 2


def test_folder_in_place_of_a_file_is_a_fault(tmp_path: Path) -> None:
    """What cannot be read is a fault with the system's reason."""
    with pytest.raises(CatalogError, match="cannot be read: Is a directory"):
        load_catalog(tmp_path, environ={})


def test_empty_environment_means_the_built_in_catalog() -> None:
    """An empty SPECREG_CATALOG, or empty places between separators, name no file."""
    assert load_catalog(environ={"SPECREG_CATALOG": os.pathsep}) == load_catalog(environ={})


def test_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an environment given, the process's own names the catalogs."""
    monkeypatch.setenv("SPECREG_CATALOG", str(write(tmp_path, "m.yaml", "version: 1\nmodels: {mine: {}}")))
    assert "mine" in load_catalog().models


def test_locks_lie_beside_their_catalogs(tmp_path: Path) -> None:
    """Every catalog has its lock beside it, in the same order."""
    mine, team = tmp_path / "mine.yaml", tmp_path / "team.yml"

    assert lock_paths(mine, environ={"SPECREG_CATALOG": str(team)}) == (
        builtin_lock_path(),
        tmp_path / "team.lock",
        tmp_path / "mine.lock",
    )
    assert builtin_lock_path() == builtin_catalog_path().with_name("catalog.lock")


def test_packaged_catalog_comes_first(tmp_path: Path) -> None:
    """In a wheel the catalog lies inside the package, and a stray catalog.yaml beside it is not read."""
    package = tmp_path / "registry"
    copytree(Path(__file__).parents[2] / "registry", package, ignore=ignore_patterns("__pycache__"))
    write(package, "__init__.py", "")
    write(package, "catalog.yaml", builtin_catalog_path().read_text(encoding="utf-8"))
    write(tmp_path, "catalog.yaml", "version: 1")

    code = (
        "from registry.catalog import *; print(len(load_catalog(environ={}).models), builtin_catalog_path())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert result.stdout.split() == ["18", str(package / "catalog.yaml")]


def test_loading_imports_nothing_heavy() -> None:
    """Loading the catalog in a fresh interpreter brings in no library it can do without."""
    heavy = ["torch", "transformers", "huggingface_hub", "sqlmodel", "sqlalchemy", "platformdirs", "click"]
    code = (
        "import sys; from registry.catalog import load_catalog; load_catalog(environ={}); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_laying_over_nothing_changes_nothing() -> None:
    """The empty catalog is neutral on either side."""
    catalog = load_catalog(environ={})
    assert lay_over(catalog, Catalog()) == lay_over(Catalog(), catalog) == catalog

"""Where checkpoints are looked for, and where never."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import CatalogError, NotInstalledError
from registry.places import Place, head_place, hub_cache, model_place
from registry.records import Catalog, Head, Model, Source
from tests.registry.stored import head_entry

HEAD = head_entry("run")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


def place_of(source: Source, *, head: Head = HEAD, commit: str | None = None) -> Place:
    """Where the head is, its source being this one."""
    return head_place(Catalog(sources={"here": source}), head, commit=commit)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub cache with the head at COMMIT, where `main` stands."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    store = tmp_path / "hub" / "models--org--heads"
    (store / "snapshots" / COMMIT / "a--to--b" / "run").mkdir(parents=True)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text(COMMIT)
    return store


def test_a_head_lies_in_a_folder_beside_the_catalog(tmp_path: Path) -> None:
    """
    A folder source is relative to the catalog's own folder.
    """
    folder = tmp_path / "my-heads" / "a--to--b" / "run"
    folder.mkdir(parents=True)

    place = place_of(Source(path="./my-heads", base=tmp_path))

    assert place == Place(folder=folder, looked_in=str(folder), kind="folder")


def test_a_head_may_name_its_own_folder(tmp_path: Path) -> None:
    """
    `path` of a head stands in place of the published layout.
    """
    (tmp_path / "odd" / "place").mkdir(parents=True)
    head = head_entry("run", path="odd/place")

    assert place_of(Source(path=".", base=tmp_path), head=head).folder == tmp_path / "odd" / "place"


def test_what_is_not_here_says_where_it_was_looked_for(tmp_path: Path) -> None:
    """
    A missing folder is no error until somebody needs it; then the message says where.
    """
    place = place_of(Source(path="heads", base=tmp_path))

    assert place.folder is None
    with pytest.raises(NotInstalledError, match="a--to--b/run is not on this machine") as caught:
        place.installed(HEAD.name)
    assert caught.value.where == str(tmp_path / "heads" / "a--to--b" / "run")


@pytest.mark.parametrize("path", ["..", "../x", "x/../../y", "/etc", "C:/x", "x\\..\\y", "x\0y", "x\ny"])
def test_no_path_leaves_its_folder(tmp_path: Path, path: str) -> None:
    """
    A path that leads out is refused in a source, a head, a model and inside a package.
    """
    odd_head = head_entry("run", path=path)

    with pytest.raises(CatalogError, match="expected a relative path"):
        place_of(Source(path=path, base=tmp_path))
    with pytest.raises(CatalogError, match="expected a relative path"):
        place_of(Source(path=".", base=tmp_path), head=odd_head)
    with pytest.raises(CatalogError, match="expected a relative path"):
        place_of(Source(package="registry", path=path))
    with pytest.raises(CatalogError, match="expected a relative path"):
        model_place(Model(alias="a", path=path, base=tmp_path))


def test_a_source_may_be_a_link_but_none_leads_out_of_it(tmp_path: Path) -> None:
    """
    The link to the source's own folder is followed; a link below it that leads elsewhere is not.
    """
    real = tmp_path / "elsewhere"
    (real / "a--to--b" / "run").mkdir(parents=True)
    (tmp_path / "heads").symlink_to(real)
    head = head_entry("out")
    (tmp_path / "secret").mkdir()
    (real / "a--to--b" / "out").symlink_to(tmp_path / "secret")

    assert place_of(Source(path="heads", base=tmp_path)).folder is not None
    assert place_of(Source(path="heads", base=tmp_path), head=head).folder is None


def test_a_package_is_found_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Finding a folder inside a package, nested ones too, runs none of its code.
    """
    for package in ("explosive", "explosive/inner"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('imported')")
    folder = tmp_path / "explosive" / "inner" / "pico" / "a--to--b" / "run"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert place_of(Source(package="explosive", path="inner/pico")).folder == folder
    assert place_of(Source(package="explosive.inner", path="pico")) == Place(
        folder=folder, looked_in=str(folder), kind="package"
    )
    assert not any(name.startswith("explosive") for name in sys.modules)


@pytest.mark.parametrize("package", ["nowhere_to_be_found", "json.nowhere.deeper", "zlib", "this.that"])
def test_a_package_that_is_not_here_is_not_here(package: str) -> None:
    """
    An unknown package, or a module without a folder, gives no folder.
    """
    assert place_of(Source(package=package, path="pico")).folder is None


@pytest.mark.parametrize("package", ["../x", "", "a/b", "a..b", ".a", "1a", "a\n"])
def test_a_package_is_a_dotted_name(package: str) -> None:
    """
    Nothing but a dotted name reaches the import machinery.
    """
    with pytest.raises(CatalogError, match="expected a package name"):
        place_of(Source(package=package))


def test_a_branch_leads_to_its_commit(hub: Path) -> None:
    """
    Without a revision, a Hub source is read at the commit where `main` was last seen.
    """
    place = place_of(Source(hub="org/heads"))

    folder = hub / "snapshots" / COMMIT / "a--to--b" / "run"
    assert place == Place(folder=folder, looked_in=str(folder), kind="hub", commit=COMMIT)


@pytest.mark.usefixtures("hub")
def test_a_recorded_commit_counts_for_more_than_a_branch() -> None:
    """
    What is recorded at one commit is not looked for at another, though that one is here.
    """
    place = place_of(Source(hub="org/heads", revision="main"), commit=OTHER)

    assert place.commit == OTHER
    assert place.folder is None
    assert OTHER in place.looked_in


def test_a_commit_in_the_catalog_counts_for_most(hub: Path) -> None:
    """
    A revision of 40 hex digits is taken at its word, whatever the record says.
    """
    place = place_of(Source(hub="org/heads", revision=COMMIT), commit=OTHER)

    assert place.folder == hub / "snapshots" / COMMIT / "a--to--b" / "run"


def test_a_branch_with_a_slash_has_its_own_folder(hub: Path) -> None:
    """
    `refs/pr/1` is a file three folders down.
    """
    (hub / "refs" / "refs" / "pr").mkdir(parents=True)
    (hub / "refs" / "refs" / "pr" / "1").write_text(COMMIT)

    assert place_of(Source(hub="org/heads", revision="refs/pr/1")).commit == COMMIT


@pytest.mark.parametrize(
    "text", ["", "main", COMMIT[:-1], COMMIT + "\n", COMMIT.upper(), "../" + COMMIT[3:], "é" * 20]
)
def test_a_ref_is_a_commit_and_nothing_else(hub: Path, text: str) -> None:
    """
    Whatever else a ref file says is not followed.
    """
    (hub / "refs" / "main").write_bytes(text.encode("latin-1"))

    assert place_of(Source(hub="org/heads")).folder is None


def test_a_ref_that_is_a_link_is_not_read(hub: Path) -> None:
    """
    Ref files are read only where they are plain files.
    """
    (hub / "elsewhere").write_text(COMMIT)
    (hub / "refs" / "side").symlink_to(hub / "elsewhere")

    assert place_of(Source(hub="org/heads", revision="side")).folder is None


def test_a_snapshot_that_leads_outside_is_not_here(hub: Path, tmp_path: Path) -> None:
    """
    A snapshot folder that is a link out of its repo's cache is not entered.
    """
    (tmp_path / "outside" / "a--to--b" / "run").mkdir(parents=True)
    (hub / "snapshots" / OTHER).symlink_to(tmp_path / "outside")

    assert place_of(Source(hub="org/heads", revision=OTHER)).folder is None


@pytest.mark.parametrize(
    "revision", ["..", "../main", "a/../b", "/main", "main/", "a b", "main\n", "a//b", "."]
)
@pytest.mark.usefixtures("hub")
def test_no_revision_leaves_the_refs(revision: str) -> None:
    """
    A revision is a branch, a tag or a commit, never a path.
    """
    with pytest.raises(CatalogError, match="expected a branch, tag or commit"):
        place_of(Source(hub="org/heads", revision=revision))


@pytest.mark.parametrize("repo", ["a/b/c", "../x", "a--b/c", "/x", "x/", "a b", "x/..", "x\n", "", "x" * 97])
@pytest.mark.usefixtures("hub")
def test_no_repo_leaves_the_cache(repo: str) -> None:
    """
    A repo is 'org/name' of the Hub's own alphabet.
    """
    with pytest.raises(CatalogError, match="expected 'org/name'"):
        model_place(Model(alias="a", hub=repo))


def test_hostile_names_never_lead_outside(hub: Path) -> None:
    """
    Any repo, revision and folder is refused or looked for inside the cache.
    """
    cache = hub.parent
    texts = st.lists(
        st.sampled_from(["..", "/", "\\", "a", ".", "--", "\0", "~", "$HOME", "é"]), max_size=5
    ).map("".join)

    @settings(max_examples=500, deadline=None, derandomize=True, database=None)
    @given(texts, texts, texts)
    def check(repo: str, revision: str, path: str) -> None:
        head = head_entry("run", path=path)
        for source in (Source(hub=repo, revision=COMMIT), Source(hub="org/heads", revision=revision)):
            try:
                place = place_of(source, head=head)
            except CatalogError:
                continue
            assert ".." not in Path(place.looked_in).parts
            assert place.looked_in.startswith(str(cache))

    check()


def test_a_model_is_its_whole_snapshot(hub: Path) -> None:
    """
    A base model's folder is the snapshot itself.
    """
    assert model_place(Model(alias="a", hub="org/heads")).folder == hub / "snapshots" / COMMIT


def test_a_model_without_a_place_is_nowhere() -> None:
    """
    A model of which the catalog tells only sizes is not here, and no error.
    """
    assert model_place(Model(alias="a", hidden_size=1)).folder is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HF_HUB_CACHE": "/x", "HF_HOME": "/y"}, "/x"),
        ({"HUGGINGFACE_HUB_CACHE": "/z", "HF_HOME": "/y"}, "/z"),
        ({"HF_HOME": "/y", "XDG_CACHE_HOME": "/w"}, "/y/hub"),
        ({"HF_HOME": "~/y"}, "/home/someone/y/hub"),
        ({"HF_HUB_CACHE": "$HF_HOME/x", "HF_HOME": "/y"}, "/y/x"),
        ({"XDG_CACHE_HOME": "/w"}, "/w/huggingface/hub"),
        ({}, "/home/someone/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_its_client_puts_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    """
    The same variables in the same order of precedence as the Hub's client.
    """
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert hub_cache() == Path(expected)

"""What a message suggests about one checkpoint: what fetches it, what records it, and what puts its files right.

Commands are worded by `registry.command`, so that they run as they are printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from registry.command import Catalogs, chosen, command
from registry.files.manifest import AGAIN
from registry.records import HEAD_SEPARATOR

if TYPE_CHECKING:
    from registry.places import Place

CATALOG: Final = "CATALOG"  # where nothing tells which file of several is meant


def fetching(name: str, *, catalogs: Catalogs = ()) -> str:
    """What brings one head or model here from the Hub. A model comes alone.

    >>> fetching("a--to--b/run"), fetching("a")
    ('specreg download a--to--b/run', 'specreg download a --models')
    """
    of_model = () if HEAD_SEPARATOR in name else ("--models",)
    return command("download", name, *of_model, catalogs=catalogs)


def fetching_chain(models: Sequence[str], *, catalogs: Catalogs = ()) -> str:
    """What brings exactly this chain here, its models included.

    >>> fetching_chain(["a", "b"]), fetching_chain(["a"])
    ('specreg download a b --length 2 --models', 'specreg download a --models')
    """
    if len(models) == 1:
        return fetching(models[0], catalogs=catalogs)
    return command("download", *chosen(models), "--models", catalogs=catalogs)


def bringing(models: Sequence[str], missing: Mapping[str, Place], *, catalogs: Catalogs = ()) -> str:
    """What brings here whatever is missing of this chain, as a sentence. From a folder nothing can be fetched.

    Args:
        models: Of the chain.
        missing: What is not here, by name, with where it should be.
        catalogs: What the command is to be given too.
    """
    fetched = f"`{fetching_chain(models, catalogs=catalogs)}`"
    own = [name for name, place in missing.items() if place.kind != "hub"]
    if not own:
        return f"{fetched} fetches all of it."
    put = f"Put {', '.join(own)} there, or mend the catalog"
    return f"{put}." if len(own) == len(missing) else f"{put}; {fetched} then fetches the rest."


def locking(*, catalogs: Catalogs = ()) -> str:
    """What records the folders of a catalog.

    >>> locking(catalogs=["my heads.yaml"]), locking()
    ("specreg lock 'my heads.yaml'", 'specreg lock CATALOG')
    """
    return command("lock", str(catalogs[0]) if len(catalogs) == 1 else CATALOG)


def recording(name: str, place: Place, *, catalogs: Catalogs = ()) -> str:
    """What makes the record of a head or model that has none."""
    return fetching(name, catalogs=catalogs) if place.kind == "hub" else locking(catalogs=catalogs)


def restoring(place: Place, *, catalogs: Catalogs = ()) -> str:
    """What to do about files that are not those on record, as a sentence."""
    step = beyond_fetching(place, catalogs=catalogs)
    return f"{step[0].upper()}{step[1:]}." if step else AGAIN


def beyond_fetching(place: Place, *, catalogs: Catalogs = ()) -> str:
    """Why fetching again does not help, and what does, as part of a sentence; empty for the Hub's cache."""
    if place.kind == "package":
        return f"it is part of an installed package ({place.folder}): install that again"
    if place.kind == "folder":
        return (
            f"it is in a folder of your own ({place.folder}): put the files back from where they came, or, "
            f"if they are meant to be so, record them anew with `{locking(catalogs=catalogs)}`"
        )
    return ""

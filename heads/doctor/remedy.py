"""What puts a checkpoint right: fetched again, or its folder filled and recorded."""

from __future__ import annotations

from registry.command import command
from registry.places import Place
from registry.records import Head, Model
from registry.shelf import Shelf
from registry.suggested import beyond_fetching, fetching, locking, recording


def put_right(shelf: Shelf, member: Head | Model) -> str:
    """The command; where files lie in a folder of one's own, what comes before it stands behind a `#`."""
    name, place = _found(shelf, member)
    if place.kind == "hub":
        fetched = fetching(name, catalogs=shelf.given)
        return f"{fetched}  # where that finds nothing to fetch, the record itself is of other files"
    return _by_hand(shelf, name, place)


def as_recorded(shelf: Shelf, member: Head | Model) -> str:
    """The same for files that are not those on record: those of the Hub's cache are mended."""
    name, place = _found(shelf, member)
    if place.kind == "hub":
        return command("verify", name, "--repair", catalogs=shelf.given)
    return _by_hand(shelf, name, place)


def on_record(shelf: Shelf, member: Head | Model) -> str:
    """The command that makes the record it lacks."""
    name, place = _found(shelf, member)
    return recording(name, place, catalogs=shelf.given)


def _found(shelf: Shelf, member: Head | Model) -> tuple[str, Place]:
    if isinstance(member, Head):
        return member.name, shelf.head_place(member)
    return member.alias, shelf.model_place(member)


def _by_hand(shelf: Shelf, name: str, place: Place) -> str:
    if place.kind == "package":
        return beyond_fetching(place)
    return f"{locking(catalogs=shelf.given)}  # once the right files lie in the folder of {name}"

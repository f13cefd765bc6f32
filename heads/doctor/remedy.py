"""What puts a checkpoint right: fetched again, or its folder filled and recorded."""

from __future__ import annotations

from registry.places import download_command
from registry.records import Head, Model
from registry.shelf import Shelf


def put_right(shelf: Shelf, member: Head | Model) -> str:
    """The command; where files lie in a folder of one's own, what comes before it stands behind a `#`."""
    if isinstance(member, Head):
        kind, name = shelf.head_place(member).kind, member.name
    else:
        kind, name = shelf.model_place(member).kind, member.alias
    if kind == "hub":
        return f"{download_command(name)}  # where that finds nothing to fetch, the record itself is of other files"
    return f"specreg lock CATALOG  # once the right files lie in the folder of {name}"

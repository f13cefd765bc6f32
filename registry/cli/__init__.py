"""The command line: each command parses, calls one function and prints."""

from registry.cli.entry import main

__all__ = ["main"]

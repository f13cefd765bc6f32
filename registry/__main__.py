"""`python -m registry` is `specreg`, and so is the console script: here a command begins, and here it ends."""

from registry.interruption import end_quietly


def main() -> None:
    """Import the commands, which takes a while, and run the one that is asked for."""
    end_quietly()
    from registry.cli import main as command  # noqa: PLC0415 - once Ctrl-C is seen to
    from registry.cli.streams import settle_streams  # noqa: PLC0415

    try:
        settle_streams()
        command()
    finally:
        end_quietly()


if __name__ == "__main__":
    main()

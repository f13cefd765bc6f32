"""`python -m registry` is `specreg`."""

from registry.cli import main

if __name__ == "__main__":
    main()

"""`python -m registry` is `waypost`."""

from registry.cli import main

if __name__ == "__main__":
    main()

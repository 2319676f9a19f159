"""Entry point of `python -m eetool`."""

from eetool.cli.app import main

if __name__ == "__main__":
    main()

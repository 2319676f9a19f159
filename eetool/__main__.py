"""`python -m eetool`."""

from eetool.cli import main

if __name__ == "__main__":
    main()

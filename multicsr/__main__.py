"""`python -m multicsr`."""

from multicsr.cli import main

if __name__ == "__main__":
    main()

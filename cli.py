"""A thin launcher: `python cli.py run` is `multicsr run`."""

from multicsr.cli import main

if __name__ == "__main__":
    main()

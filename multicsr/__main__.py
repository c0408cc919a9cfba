"""`python -m multicsr`."""

import sys

if __name__ == "__main__":
    # The working directory, where a torch.py may lie. What Python itself imports before this line it cannot keep from
    # being found there; `python -P -m multicsr` and the command `multicsr` never look there at all.
    if not sys.flags.safe_path:
        del sys.path[0]

    from multicsr.cli import main

    main()

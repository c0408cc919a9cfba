"""Reviewing by hand: `desk` knows what is shown and said, `server` serves the page to this machine alone."""

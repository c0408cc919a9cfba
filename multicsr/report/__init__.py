"""The HTML report of a run: `data` says what it shows, `html` renders it, `charts` draws."""

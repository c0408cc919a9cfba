"""A plugin that ends the program instead of raising an error."""

raise SystemExit("no license")

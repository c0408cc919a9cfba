"""The stages of a run. Each is a function of a `Workspace`, does what its inputs changed, and stores as it goes."""

"""The built-in filters and judges: each one file, written only against the public API."""

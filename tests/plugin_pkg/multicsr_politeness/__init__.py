"""Filters for the polite; the entry point names this package, which offers what its modules define."""

from multicsr_politeness.filters import politeness

__all__ = ["politeness"]

"""Measures the engines against what one would write without them, and against the machine: `multicsr bench`."""

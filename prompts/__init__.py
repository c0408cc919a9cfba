"""Versioned prompt templates, one YAML file each; a released version never changes (see released.lock)."""

"""Data written for multicsr: bundled sentences and a small labelled set that serves as a smoke measure only."""

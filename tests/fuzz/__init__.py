"""Malformed inputs for every parser that meets strangers: `python -m tests.fuzz`."""

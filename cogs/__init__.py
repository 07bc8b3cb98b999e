"""Slash commands: parse, call ``bot``, render. Thin."""

"""Backups: taken while the bot runs, verified, and put back so that nothing deleted returns."""

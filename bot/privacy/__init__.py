"""What anybody may have of what is kept about them: a copy of all of it, and its end.

docs/privacy.md says what is kept, and for how long.
"""

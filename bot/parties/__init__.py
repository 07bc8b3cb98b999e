"""Parties: evenings around one topic, every step of which is kept.

A party is a theme with members. `service.Parties` is the one door; `model` says what is kept.
Nothing here knows Discord or the wall, nor how anything is drawn.
"""

"""Games with pictures: draw it, say it, guess it.

`service.Games` is the one door; `model` says what is kept, `rules` what wins. Nothing here knows
Discord or the wall, nor how anything is drawn.
"""

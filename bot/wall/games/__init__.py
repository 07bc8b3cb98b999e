"""Games at the wall: a page that follows its game, for a phone in the hand.

What holds in games is decided by `bot.games`; here it is shown, and taken from forms.
"""

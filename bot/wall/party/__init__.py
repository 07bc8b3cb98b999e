"""Parties at the wall: guests' phones, the host's desk and the big screen.

`serving.PartyWall` is the one door. What a party is and who may do what is `bot.parties`' to say.
"""

"""Bundles: what a party, or a stream's days, became, as a site that anyone can open.

`story` says what is told, `building` makes the folder of it, `service.Publishing` keeps parties'
bundles. What is told is only what may leave (`bot.parties.reading.Reading.record`).
"""

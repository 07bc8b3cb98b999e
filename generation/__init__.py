"""The scheduler process: engines, and the scheduler that shares one GPU among people.

Only :mod:`generation.protocol` may be imported by the bot process; nothing here imports
``bot``, ``cogs`` or ``discord``.
"""

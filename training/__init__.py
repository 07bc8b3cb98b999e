"""How the starter models are made, from the registries' packages to the shipped files.

Nothing here is needed at run time. ``python -m training --help`` lists the steps.
"""

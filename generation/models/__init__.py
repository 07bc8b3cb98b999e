"""The models: what there is (`catalogue`), and how published files become usable weights."""

"""Proof that nothing was lost, dream by dream and file by file; and the mending of what can be."""

"""Canvases: differentiable pictures, each with its own idea of what a picture is made of."""

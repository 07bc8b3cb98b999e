"""Steering by CLIP: the perceptor that judges, the crops it is shown, and the loss it gives."""

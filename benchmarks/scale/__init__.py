"""What would break first at 10, 1,000 and 100,000 channels: ``python -m benchmarks.scale``."""

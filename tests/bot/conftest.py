"""Property tests here are about what is right, not how fast a loaded machine is."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("bot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bot")

"""What the wall answers is counted by route, however strange the address."""

from __future__ import annotations

from aiohttp import ClientSession

from bot.monitoring.metrics import REGISTRY
from tests.wall.conftest import Scene


def answers() -> dict[tuple[str, str, str], float]:
    return {
        (one.labels["route"], one.labels["method"], one.labels["status"]): one.value
        for family in REGISTRY.collect()
        if family.name == "dreamstream_wall_answers"
        for one in family.samples
    }


async def test_answers_are_counted_by_route(scene: Scene, visitor: ClientSession) -> None:
    before = answers()
    for method, path in (
        ("GET", "/s/planets"),
        ("HEAD", "/s/linked"),
        ("GET", "/s/nowhere-at-all"),
        ("GET", "/"),
        ("GET", "/wp-admin/setup.php"),
        ("DELETE", "/s/planets"),
        ("GET", "/static/wall.css"),
    ):
        async with visitor.request(method, path, allow_redirects=False) as response:
            await response.read()
    after = answers()
    found = {key: after[key] - before.get(key, 0.0) for key in after}
    assert {key: count for key, count in found.items() if count} == {
        ("/s/{slug}", "GET", "200"): 1.0,
        ("/s/{slug}", "HEAD", "200"): 1.0,
        ("/s/{slug}", "GET", "404"): 1.0,
        ("/", "GET", "302"): 1.0,
        ("none", "GET", "404"): 1.0,
        ("none", "other", "405"): 1.0,
        ("/static/{name}", "GET", "200"): 1.0,
    }

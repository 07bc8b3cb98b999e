"""Painting in a real Chromium, with a mouse on a wide screen and with fingers on a phone."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.async_api import Locator, Page, expect

from tests.wall.conftest import Scene, eventually
from tests.wall.test_browser import (  # fixtures are taken by name
    Visitor,
    browser,
    people,
    scene,
)

__all__ = ["browser", "people", "scene"]
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
Points = Sequence[tuple[float, float]]
SENT = """(name) => new Promise((done) => {
  const [file] = document.querySelector(`input[name=${name}]`).files;
  if (!file) { done(null); return; }
  const reader = new FileReader();
  reader.onload = () => done(reader.result.split(",")[1]);
  reader.readAsDataURL(file);
})"""


async def drag(page: Page, canvas: Locator, points: Points) -> None:
    """Draw a line through points (parts of the canvas) with the mouse."""
    await canvas.scroll_into_view_if_needed()
    box = await canvas.bounding_box()
    assert box is not None
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    await page.mouse.move(*at[0])
    await page.mouse.down()
    for x, y in at[1:]:
        await page.mouse.move(x, y, steps=8)
    await page.mouse.up()


async def swipe(page: Page, canvas: Locator, points: Points) -> None:
    """Draw it with a finger: real touches, which the browser might have scrolled with."""
    await canvas.scroll_into_view_if_needed()
    box = await canvas.bounding_box()
    assert box is not None
    session = await page.context.new_cdp_session(page)

    async def touch(kind: str, *at: tuple[float, float]) -> None:
        await session.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [
                {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
                for x, y in at
            ]},
        )  # fmt: skip

    await touch("touchStart", points[0])
    for (x, y), (then_x, then_y) in itertools.pairwise(points):
        for part in np.linspace(0.125, 1, 8):
            await touch("touchMove", (x + part * (then_x - x), y + part * (then_y - y)))
    await touch("touchEnd")
    await session.detach()


async def file_of(page: Page, name: str) -> bytes | None:
    """Return what a file field holds, as it would be sent."""
    data = await page.evaluate(SENT, name)
    return None if data is None else base64.b64decode(data)


def pixels(data: bytes | None, mode: str = "L") -> np.ndarray[Any, Any]:
    assert data is not None
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened.convert(mode)).astype(int)


@pytest.mark.parametrize("who", [0, 1], ids=["mouse", "finger"])
async def test_what_is_painted_over_is_sent_as_the_mask(
    scene: Scene, people: list[Visitor], who: int
) -> None:
    dream = await scene.draw("two moons", width=160, height=128)
    page = await people[who].open(f"/d/{dream.id}")
    await page.get_by_role("link", name="Redraw a part").click()
    canvas = page.get_by_role("img", name="The picture.")
    await expect(canvas).to_be_visible()
    # It fits the screen, and what is beside it does not stand over its edge.
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    draw = (drag, swipe)[who]
    await draw(page, canvas, [(0.6, 0.25), (0.9, 0.25)])
    white = pixels(await file_of(page, "mask"))
    assert white.shape == (128, 160)
    assert set(np.unique(white[40:])) == {0}
    assert white[32, 100:140].min() > 250 and white[32, :80].max() == 0
    await page.get_by_label("What shall be there?").fill("three moons")
    await page.get_by_role("button", name="Redraw it").click()
    await page.wait_for_url("**/d/d0002")
    assert np.array_equal(pixels(scene.offspring.masks[-1]), white)
    assert scene.offspring.said[-1] == ("three moons", 1.0)


async def test_strokes_are_erased_inverted_undone_and_cleared(
    scene: Scene, people: list[Visitor]
) -> None:
    dream = await scene.draw("two moons")
    page = await people[0].open(f"/d/{dream.id}/repaint")
    canvas = page.get_by_role("img", name="The picture.")
    button = page.get_by_role

    async def share() -> float:
        data = await file_of(page, "mask")
        return 0.0 if data is None else float((pixels(data) > 127).mean())

    await expect(button("button", name="Undo")).to_be_disabled()
    await drag(page, canvas, [(0.1, 0.5), (0.9, 0.5)])
    stroke = await share()
    assert 0.07 < stroke < 0.15
    await button("button", name="Eraser").click()
    await expect(button("button", name="Eraser")).to_have_attribute("aria-pressed", "true")
    await drag(page, canvas, [(0.5, 0.2), (0.5, 0.8)])
    assert 0.5 * stroke < await share() < 0.95 * stroke
    await page.keyboard.press("Control+z")
    assert await share() == pytest.approx(stroke, abs=0.002)
    await button("button", name="Invert").click()
    assert await share() == pytest.approx(1 - stroke, abs=0.01)
    await button("button", name="Clear").click()
    assert await file_of(page, "mask") is None
    await button("button", name="Undo").click()
    await button("button", name="Undo").click()
    assert await share() == pytest.approx(stroke, abs=0.002)
    await button("button", name="Redo").click()
    assert await share() == pytest.approx(1 - stroke, abs=0.01)
    # The size is the brush's width: at the slider's end two fifths of the picture.
    for _ in range(2):
        await button("button", name="Undo").click()
    await page.get_by_label("Size").fill("100")
    await button("button", name="Brush").click()
    await drag(page, canvas, [(0.5, 0.5), (0.501, 0.5)])
    assert await share() == pytest.approx(3.1416 * 0.2**2, abs=0.01)


async def test_nothing_painted_is_said_and_what_was_painted_stays(
    scene: Scene, people: list[Visitor]
) -> None:
    dream = await scene.draw("two moons")
    page = await people[1].open(f"/d/{dream.id}/repaint")
    await page.get_by_role("button", name="Redraw it").click()
    await expect(page.get_by_role("alert")).to_contain_text("Paint over what")
    # Where it was pressed: the top of the page is out of sight on a phone.
    await expect(page.get_by_role("alert")).to_be_in_viewport()
    canvas = page.get_by_role("img", name="The picture.")
    await swipe(page, canvas, [(0.2, 0.2), (0.8, 0.8)])
    scene.offspring.able = frozenset()
    await page.get_by_role("button", name="Redraw it").click()
    await expect(page.get_by_role("alert")).to_contain_text("Nothing here can do that")
    assert await file_of(page, "mask") is not None
    people[1].complaints = [one for one in people[1].complaints if "422" not in one]


async def test_a_pen_that_presses_harder_paints_wider(scene: Scene, people: list[Visitor]) -> None:
    dream = await scene.draw("two moons")
    page = await people[0].open(f"/d/{dream.id}/repaint")
    canvas = page.get_by_role("img", name="The picture.")
    await canvas.scroll_into_view_if_needed()
    box = await canvas.bounding_box()
    assert box is not None
    session = await page.context.new_cdp_session(page)
    areas = []
    for y, force in ((0.3, 0.1), (0.7, 0.9)):
        at = {"pointerType": "pen", "button": "left", "force": force}
        place = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
            for x in (0.2, 0.5, 0.8)
        ]
        send = session.send
        await send("Input.dispatchMouseEvent", {"type": "mousePressed", **at, **place[0]})
        for point in place[1:]:
            await send(
                "Input.dispatchMouseEvent", {"type": "mouseMoved", "buttons": 1, **at, **point}
            )
        await send("Input.dispatchMouseEvent", {"type": "mouseReleased", **at, **place[-1]})
        white = pixels(await file_of(page, "mask"))
        half = len(white) // 2
        areas.append(float((white[:half] if y < 0.5 else white[half:]).mean()))
    assert areas[1] > 1.8 * areas[0] > 0


@pytest.mark.parametrize("who", [0, 1], ids=["mouse", "finger"])
async def test_a_sketch_is_painted_filled_and_sent(
    scene: Scene, people: list[Visitor], who: int
) -> None:
    page = await people[who].open()
    await page.get_by_text("Ways to draw it").click()
    await page.get_by_text("Draw a sketch").click()
    canvas = page.get_by_role("img", name="Your sketch")
    await page.get_by_label("Shape").select_option("160x112")
    draw = (drag, swipe)[who]
    await page.get_by_role("button", name="green", exact=True).click()
    await draw(page, canvas, [(0.004, 0.6), (0.996, 0.6)])
    await page.get_by_role("button", name="blue", exact=True).click()
    await page.get_by_role("button", name="Fill").click()
    box = await canvas.bounding_box()
    assert box is not None
    await canvas.click(position={"x": box["width"] / 2, "y": box["height"] / 4})
    sketch = pixels(await file_of(page, "sketched"), "RGB")
    assert sketch.shape == (224, 320, 3)
    assert tuple(sketch[20, 160]) == tuple(sketch[2, 2]) == (0x2F, 0x6F, 0xDE)
    assert tuple(sketch[int(0.6 * 224), 160]) == (0x3A, 0x9D, 0x3F)
    assert tuple(sketch[-5, 160]) == (255, 255, 255)  # paper, below the line
    # Another painter's choices do not take the sketch away.
    await page.get_by_label("Painter").select_option("clip")
    await expect(page.get_by_label("Palette")).to_be_visible()
    await page.get_by_label("Painter").select_option("")
    await page.get_by_label("What shall be dreamt?").fill("green hills")
    await page.keyboard.press("Enter")
    await eventually(lambda: len(scene.dreams.requests) == 1)
    assert np.array_equal(pixels(scene.dreams.requests[0].init, "RGB"), sketch)
    # What was sent is done with.
    async with asyncio.timeout(20):
        while await file_of(page, "sketched") is not None:  # noqa: ASYNC110 -- a page tells nobody
            await asyncio.sleep(0.05)


async def test_two_pictures_are_chosen_to_be_blended(scene: Scene, people: list[Visitor]) -> None:
    fox, owl = await scene.draw("a red fox"), await scene.draw("an owl")
    page = await people[1].open(f"/d/{fox.id}")
    await page.get_by_role("link", name="Blend with").click()
    await page.get_by_role("radio", name="an owl").check()
    await page.get_by_label("How much of the other").fill("30")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bot.wall.painting.is_id", lambda text: text in scene.dreams.dreams)
        await page.get_by_role("button", name="Blend them").click()
        await page.wait_for_url("**/d/d0003")
    assert scene.offspring.said == [(owl.id, 0.3, None, 0.6)]

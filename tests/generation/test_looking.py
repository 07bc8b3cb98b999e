"""Looking at pictures: vectors by a perceptor, bounded, between the assignments."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
import torch
from PIL import Image

from generation import looking
from generation.engine import EngineError, Eyes, HasEyes
from generation.engines.perceptors import SharedPerceptors
from generation.models.library import Library
from generation.protocol import Embed, Embedded, Finished, Hello, Started, Submit, Welcome
from tests.fakes.engine import FakeEyes, job
from tests.generation import tiny
from tests.generation.test_process import scheduler, slow
from tests.generation.test_worker import Bench


def picture(colour: str, kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def vector(data: bytes) -> list[float]:
    return [round(float(part), 3) for part in np.frombuffer(data, "<f2")]


def test_pictures_and_texts_are_answered_in_their_order() -> None:
    pictures = (picture("red"), b"not a picture", picture("blue", "JPEG"), picture("lime")[:60])
    ask = Embed(id="e", perceptor="colours", pictures=pictures, texts=("#00ff00", "#ff0000"))
    found = looking.answer(FakeEyes(), ask)
    assert found.reason == ""
    red, unread, blue, torn = found.pictures
    assert vector(red) == [1, 0, 0] and unread == b"" and torn == b""
    assert vector(blue)[2] > 0.99
    assert [vector(text) for text in found.texts] == [[0, 1, 0], [1, 0, 0]]


def test_what_cannot_be_done_is_said_in_a_sentence() -> None:
    eyes = FakeEyes()
    many = Embed(id="e", perceptor="colours", texts=("#000000",) * 65)
    assert looking.answer(eyes, many).reason == looking.TOO_MANY and not eyes.asked
    assert looking.answer(None, many).reason == looking.NO_EYES
    unknown = Embed(id="e", perceptor="nope", texts=("#000000",))
    assert "nope" in looking.answer(eyes, unknown).reason
    assert looking.answer(eyes, Embed(id="e", perceptor="oom")).reason == looking.NO_ROOM
    wrong = Embed(id="e", perceptor="colours", texts=("a mistake",))
    assert looking.answer(eyes, wrong).reason == looking.BROKEN
    assert eyes.rests == 3


def test_a_bomb_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = picture("white", size=(5000, 4000))

    def decode(*_: object) -> None:
        raise AssertionError("its header says enough")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decode)
    ask = Embed(id="e", perceptor="colours", pictures=(huge,))
    assert looking.answer(FakeEyes(), ask).pictures == (b"",)


def test_the_worker_looks_with_what_an_engine_shares() -> None:
    bench = Bench()
    engine: object = bench.engine
    assert isinstance(engine, HasEyes)
    assert isinstance(engine.eyes, Eyes)
    assert bench.worker.perceptors == FakeEyes.names
    bench.worker.look(Embed(id="e", perceptor="colours", texts=("#00ff00",)))
    (said,) = bench.said
    assert isinstance(said, Embedded) and vector(said.texts[0]) == [0, 1, 0]


def test_shared_perceptors_give_the_vectors_of_the_score() -> None:
    class One(SharedPerceptors):
        loads = 0

        def _load(self, name: str) -> object:  # type: ignore[override]
            self.loads += 1
            return tiny.perceptor()

    shared = One(Library(None), tiny.CPU)
    shared.names = ("tiny", "other")
    image = Image.effect_noise((48, 40), 80).convert("RGB")
    (seen,), (read,) = shared.look("tiny", [image], ["a red fox"])
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    wanted = float(tiny.perceptor().score(pixels, ["a red fox"])[0])
    a, b = (np.frombuffer(data, "<f2").astype(np.float64) for data in (seen, read))
    assert float(a @ b) == pytest.approx(wanted, abs=2e-3)
    assert np.linalg.norm(a) == pytest.approx(1, abs=2e-3)
    shared.look("tiny", [], ["again"])
    assert shared.loads == 1, "it is held: people look again"
    shared.look("other", [], ["a"])
    shared.rest()
    shared.rest()
    assert shared._loaded == {}
    with pytest.raises(EngineError, match="gone"):
        shared.look("gone", [], ["a"])


def test_a_steered_engine_shares_its_perceptors() -> None:
    engine: object = tiny.engine()
    assert isinstance(engine, HasEyes)
    assert engine.eyes is None, "these only judge"


async def test_an_answer_comes_while_others_are_drawn() -> None:
    async with scheduler(greet=False, quantum_s=0.2) as peer:
        peer.send(Hello())
        assert (await peer.until(Welcome)).perceptors == FakeEyes.names
        peer.send(Submit(job("long", settings=slow(0.05), steps=2000)))
        await peer.until(Started, "long")
        began = asyncio.get_running_loop().time()
        for nth in range(5):
            peer.send(Embed(id=f"e{nth}", perceptor="colours", pictures=(picture("red"),)))
        for nth in range(5):
            answer = await peer.until(Embedded)
            assert answer.id == f"e{nth}" and vector(answer.pictures[0]) == [1, 0, 0]
        assert asyncio.get_running_loop().time() - began < 5
        peer.send(Submit(job("short", person="bob", steps=3)))
        await peer.until(Finished, "short")

"""Templates are compiled once, and anew where anything has changed that they are compiled from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jinja2 import Environment

import bot.templating
from bot.templating import environment


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the sources that are compiled."""
    sources: list[str] = []
    compile_ = Environment.compile

    def noted(self: Environment, source: str, *more: object, **options: object) -> object:
        sources.append(source)
        return compile_(self, source, *more, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Environment, "compile", noted)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two templates, of which one is made with the other."""
    (tmp_path / "page.html").write_text('{% extends "layout.html" %}{% block in %}{{ 2 + 2 }}!')
    with (tmp_path / "page.html").open("a") as page:
        page.write("{% endblock %}")
    (tmp_path / "layout.html").write_text("<p>{% block in %}{% endblock %}</p>")
    return tmp_path


def page(folder: Path) -> str:
    return environment(folder).get_template("page.html").render()


def test_a_second_start_compiles_nothing(folder: Path, compiled: list[str]) -> None:
    assert page(folder) == "<p>4!</p>"
    assert len(compiled) == 2
    assert page(folder) == "<p>4!</p>"
    assert len(compiled) == 2
    assert len(list((folder / "__pycache__").iterdir())) == 2  # and nothing half written


def test_what_has_changed_is_compiled_anew(
    folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page(folder)
    (folder / "layout.html").write_text("<b>{% block in %}{% endblock %}</b>")
    assert page(folder) == "<b>4!</b>"
    assert len(compiled) == 3
    monkeypatch.setattr(bot.templating, "_STAMP", b"another version")
    assert page(folder) == "<b>4!</b>"
    assert len(compiled) == 5


@pytest.mark.parametrize("kept", [b"", b"x" * 500, None])
def test_what_is_broken_is_compiled_anew(
    folder: Path, compiled: list[str], kept: bytes | None
) -> None:
    page(folder)
    files = list((folder / "__pycache__").iterdir())
    assert len(files) == 2
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] if kept is None else kept)
    assert page(folder) == "<p>4!</p>"
    assert len(compiled) == 4
    assert page(folder) == "<p>4!</p>"
    assert len(compiled) == 4


def test_nothing_is_kept_where_that_cannot_be_or_is_not_wanted(
    folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "__pycache__").write_text("not a folder, whoever writes")
    assert page(folder) == page(folder) == "<p>4!</p>"
    (folder / "__pycache__").unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert page(folder) == page(folder) == "<p>4!</p>"
    assert len(compiled) == 8
    assert not (folder / "__pycache__").exists()


def test_a_filter_of_constants_is_applied_when_a_page_is_made(
    folder: Path, compiled: list[str]
) -> None:
    (folder / "page.html").write_text("{{ 'a' | twice }}")
    first = environment(folder, {"twice": lambda text: text + text})
    assert first.get_template("page.html").render() == "aa"
    changed = environment(folder, {"twice": lambda text: f"{text} and {text}"})
    assert changed.get_template("page.html").render() == "a and a"
    assert len(compiled) == 2

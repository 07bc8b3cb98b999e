"""Judge the bot's REST requests by Discord's own description, and by the rules it leaves out.

The description (OpenAPI) lies beside the checkout, in ``shared/discord``; where it is not there
only the hand-written rules are applied. Two of its statements are known to be wrong about what
Discord takes, and are excused: whole numbers as `attachments[].id`, and text as
`default_member_permissions`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "discord"
needs_description = pytest.mark.skipif(
    not (FOLDER / "openapi.json").is_file(),
    reason="Discord's OpenAPI description is not beside the checkout (shared/discord)",
)

_IS_V2 = 1 << 15
_V2 = (9, 10, 11, 12, 13, 14, 17)
# Events that bring what a REST route brings too: its schema, and where in the event it is.
_EVENTS = {
    "CHANNEL_UPDATE": ("GuildChannelResponse", None),
    "CHANNEL_DELETE": ("GuildChannelResponse", None),
    "GUILD_ROLE_UPDATE": ("GuildRoleResponse", "role"),
}
_SNOWFLAKE = re.compile(r'"\d{17,20}"')
_EXCUSED = (re.compile(r"attachments\.\d+\.id"), re.compile(r"(.*\.)?default_member_permissions"))


def check_requests(requests: Iterable[tuple[str, str, Any]]) -> None:
    """Fail if any request (method, path below /api/v10, JSON body or None) is not as it must be."""
    found = [
        f"{method} {path}: {fault}"
        for method, path, body in requests
        for fault in faults(method, path, body)
    ]
    assert not found, "\n".join(found)


def faults(method: str, path: str, body: Any) -> Iterator[str]:
    """Yield what is wrong about a request."""
    if body is not None:
        yield from _rules(method, path, body)
    if not (FOLDER / "openapi.json").is_file():
        return
    operation = _operation(method, path)
    if operation is None:
        yield "there is no such route"
        return
    content = operation.get("requestBody", {}).get("content", {})
    if body is None:
        if operation.get("requestBody", {}).get("required"):
            yield "the body is missing"
        return
    if "application/json" not in content:
        yield "no body is taken"
        return
    schema = content["application/json"]["schema"]
    yield from _by_schema(schema, body)
    known = _properties(schema)
    if isinstance(body, dict) and known:
        # discord.py sends `tts` along with every edit; Discord takes no notice of it.
        unknown = set(body) - known - ({"tts"} if method == "PATCH" else set())
        if unknown:
            yield f"unknown keys {sorted(unknown)}"


def answer_faults(method: str, path: str, status: int, body: Any) -> Iterator[str]:
    """Yield what is wrong about an answer of ours to a request."""
    if not (FOLDER / "openapi.json").is_file():
        return
    operation = _operation(method, path)
    if operation is None:
        return  # which is told of the request
    answers = operation["responses"]
    answer = answers.get(str(status)) or answers.get(f"{status // 100}XX")
    if answer is None:
        yield f"there is no answer {status}"
    elif "content" in answer:
        yield from _by_schema(answer["content"]["application/json"]["schema"], body)
    elif "$ref" in answer:
        name = answer["$ref"].rsplit("/", 1)[1]
        content = _description()["components"]["responses"][name]["content"]
        yield from _by_schema(content["application/json"]["schema"], body)


def event_faults(name: str, data: Any) -> Iterator[str]:
    """Yield what is wrong about an event of ours, where its form is described."""
    if name == "INTERACTION_CREATE":
        # A command that is being typed, and a menu of a message: of these no schema is at hand.
        if data["type"] == 4 or (data["type"] == 2 and data["data"].get("type") != 1):
            return
        name = {2: "SLASH", 3: "COMPONENT", 5: "MODAL"}[data["type"]]
    path = FOLDER / "gateway-schemas" / f"{name}.schema.json"
    if path.is_file():
        for error in _event_validator(path).iter_errors(data):
            yield from _told(error)
    elif name in _EVENTS and (FOLDER / "openapi.json").is_file():
        schema, key = _EVENTS[name]
        told = data if key is None else data[key]
        yield from _by_schema({"$ref": f"#/components/schemas/{schema}"}, told)


def _by_schema(schema: dict[str, Any], body: Any) -> tuple[str, ...]:
    # Whatever differs by its ids alone is judged once: the commands take half a second each time.
    return _judged(json.dumps(schema), _SNOWFLAKE.sub('"111111111111111111"', json.dumps(body)))


@lru_cache(maxsize=256)
def _judged(schema: str, body: str) -> tuple[str, ...]:
    errors = _validator(schema).iter_errors(json.loads(body))
    return tuple(fault for error in errors for fault in _told(error))


def _told(error: jsonschema.ValidationError) -> Iterator[str]:
    place = ".".join(str(part) for part in error.absolute_path)
    if any(excused.fullmatch(place) for excused in _EXCUSED):
        return
    if error.context:
        # A form that would do but for what is excused does.
        forms: dict[Any, list[jsonschema.ValidationError]] = {}
        for inner_error in error.context:
            forms.setdefault(inner_error.schema_path[0], []).append(inner_error)
        if any(not any(map(list, map(_told, form))) for form in forms.values()):
            return
        # Of several forms, the one that comes nearest says what is wrong.
        best = jsonschema.exceptions.best_match([error])
        inner = ".".join(str(part) for part in best.absolute_path) if best else place
        if any(excused.fullmatch(inner) for excused in _EXCUSED):
            return
        error, place = (best, inner) if best else (error, place)
    yield f"{place or 'body'}: {error.message[:300]}"


@cache
def _description() -> dict[str, Any]:
    description: dict[str, Any] = json.loads((FOLDER / "openapi.json").read_text(encoding="utf-8"))
    return description


@cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    whole = json.loads(schema) | {"components": _description()["components"]}
    return jsonschema.Draft202012Validator(whole)


@cache
def _event_validator(path: Path) -> jsonschema.Draft7Validator:
    schema = json.loads(path.read_text(encoding="utf-8"))
    for name, definition in schema["definitions"].items():
        # Sets of bits, of which only those with a single bit are listed.
        if name.endswith("Flags") and definition.get("type") == "number":
            schema["definitions"][name] = {"type": "integer", "minimum": 0}
    return jsonschema.Draft7Validator(schema)


@cache
def _operation(method: str, path: str) -> dict[str, Any] | None:
    best: tuple[int, dict[str, Any]] | None = None
    parts = path.strip("/").split("/")
    for template, operations in _description()["paths"].items():
        wanted = template.strip("/").split("/")
        pairs = list(zip(wanted, parts, strict=False))
        fits = len(wanted) == len(parts) and all(w[0] == "{" or w == p for w, p in pairs)
        literal = sum(w == p for w, p in pairs)
        if fits and method.lower() in operations and (best is None or literal > best[0]):
            best = (literal, operations[method.lower()])
    return None if best is None else best[1]


def _properties(schema: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return _properties(_description()["components"]["schemas"][name])
    found = set(schema.get("properties", ()))
    for kind in ("allOf", "anyOf", "oneOf"):
        for one in schema.get(kind, ()):
            found |= _properties(one)
    return found


# --- what the description leaves out ---------------------------------------------------------


def _rules(method: str, path: str, body: Any) -> Iterator[str]:
    if method == "PUT" and path.endswith("/commands"):
        yield from _command_rules(body)
        return
    message = body
    if path.endswith("/callback"):
        if body.get("type") == 9:
            yield from _modal_rules(body["data"])
            return
        message = body.get("data") or {}
    if not isinstance(message, dict):
        return
    yield from _message_rules(message)
    if method == "POST" and path.endswith("/messages"):
        if not any(message.get(key) for key in ("components", "content", "embeds", "attachments")):
            yield "an empty message"
        if "allowed_mentions" not in message:
            yield "mentions are not held back"


def _message_rules(message: dict[str, Any]) -> Iterator[str]:
    if len(message.get("content") or "") > 2000:
        yield "more than 2,000 characters"
    if sum(map(_embed_length, message.get("embeds") or [])) > 6000:
        yield "more than 6,000 characters in embeds"
    flags = message.get("flags") or 0
    top = message.get("components") or []
    components = list(_walk(top))
    if flags & _IS_V2 and any(message.get(key) for key in ("content", "embeds", "poll")):
        yield "content, embeds or a poll beside components V2"
    if any(one["type"] in _V2 for one in components) and not flags & _IS_V2:
        yield "components V2 without their flag"
    if not flags & _IS_V2 and len(top) > 5:
        yield "more than five rows"
    if len(components) > 40:
        yield "more than 40 components"
    if sum(len(one.get("content", "")) for one in components if one["type"] == 10) > 4000:
        yield "more than 4,000 characters in components"
    ids = [one["custom_id"] for one in components if "custom_id" in one]
    if len(ids) != len(set(ids)):
        yield "a custom_id twice"
    for one in components:
        yield from _component_rules(one)


def _component_rules(one: dict[str, Any]) -> Iterator[str]:
    if not 1 <= len(one.get("custom_id", "-")) <= 100:
        yield "a custom_id of none or more than 100 characters"
    if len(one.get("label") or "") > 80:
        yield "a label of more than 80 characters"
    if one["type"] == 1:
        inner = [inside["type"] for inside in one["components"]]
        if not 1 <= len(inner) <= 5 or (len(inner) > 1 and set(inner) != {2}):
            yield "a row of other than one to five buttons, or a single menu"
    if one["type"] == 3 and not 1 <= len(one["options"]) <= 25:
        yield "a menu of other than 1 to 25 options"
    if one["type"] == 12:
        if not 1 <= len(one["items"]) <= 10:
            yield "a gallery of other than 1 to 10 pictures"
        if any(not item.get("description") for item in one["items"]):
            yield "a picture without words for those who do not see it"


def _embed_length(embed: dict[str, Any]) -> int:
    parts = [embed.get("title"), embed.get("description")]
    parts += [(embed.get("footer") or {}).get("text"), (embed.get("author") or {}).get("name")]
    for field in embed.get("fields") or []:
        parts += [field["name"], field["value"]]
    return sum(len(part or "") for part in parts)


def _modal_rules(modal: dict[str, Any]) -> Iterator[str]:
    if not 1 <= len(modal["components"]) <= 5:
        yield "a form has one to five fields"
    if len(modal["title"]) > 45:
        yield "a title of more than 45 characters"
    if not 1 <= len(modal["custom_id"]) <= 100:
        yield "a custom_id of none or more than 100 characters"
    ids = [one["custom_id"] for one in _walk(modal["components"]) if "custom_id" in one]
    if len(ids) != len(set(ids)):
        yield "a custom_id twice"


def _command_rules(tree: list[dict[str, Any]]) -> Iterator[str]:
    for command in tree:
        if command.get("type", 1) == 1:
            yield from _named_rules(command)
            total = _characters(command)
            # Source: https://github.com/discord/discord-api-docs/pull/6668 (before, it was 4000)
            if total > 8000:
                yield f"{command['name']} has {total} characters in all"
        else:  # the menus of messages and people
            for name in _in_all_languages(command, "name"):
                if not 1 <= len(name) <= 32:
                    yield f"the name {name}"
    kinds = [(command.get("type", 1), command["name"]) for command in tree]
    if len(set(kinds)) != len(kinds):
        yield "two commands of one name"
    for kind, most in ((1, 100), (2, 15), (3, 15)):
        if sum(found == kind for found, _ in kinds) > most:
            yield f"more than {most} commands of kind {kind}"


def _named_rules(named: dict[str, Any]) -> Iterator[str]:
    for name in _in_all_languages(named, "name"):
        if not re.fullmatch(r"[-_'\w]{1,32}", name) or name.lower() != name:
            yield f"the name {name}"
    for description in _in_all_languages(named, "description"):
        if not 1 <= len(description) <= 100:
            yield f"the description {description}"
    choices = named.get("choices", [])
    if len(choices) > 25:
        yield f"more than 25 choices of {named['name']}"
    if choices and named.get("autocomplete"):
        yield f"choices and autocomplete of {named['name']}"
    for choice in choices:
        if any(not 1 <= len(name) <= 100 for name in _in_all_languages(choice, "name")):
            yield f"the choice {choice['name']}"
    options = named.get("options", [])
    for option in options:
        yield from _named_rules(option)
    required = [option.get("required", False) for option in options]
    if required != sorted(required, reverse=True):
        yield "options that are required come first"
    if len(options) > 25:
        yield "more than 25 options"
    for language in {name for one in options for name in one.get("name_localizations") or ()}:
        names = [(one.get("name_localizations") or {}).get(language) for one in options]
        if len(set(names)) != len(names):
            yield f"two options of {named['name']} with one name in {language}"


def _in_all_languages(named: dict[str, Any], field: str) -> list[str]:
    return [named[field], *(named.get(f"{field}_localizations") or {}).values()]


def _characters(named: dict[str, Any]) -> int:
    """Count names, descriptions and values, each in the language in which it is longest."""
    longest = sum(
        max(len(text) for text in _in_all_languages(named, field))
        for field in ("name", "description")
        if field in named
    )
    inner = sum(_characters(one) for one in [*named.get("options", []), *named.get("choices", [])])
    return longest + len(str(named.get("value", ""))) + inner


def _walk(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for component in components:
        yield component
        yield from _walk(component.get("components", []))
        for key in ("accessory", "component"):
            if component.get(key):
                yield from _walk([component[key]])

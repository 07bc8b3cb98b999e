"""Check an engine's own settings, and fill in those that were left out."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping

from bot.errors import InvalidRequestError
from bot.sentences import say
from bot.text import clean, shorten
from generation.protocol import EngineInfo, OptionInfo, Setting

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
MAX_TEXT = 500
# Up to here every whole number is a float, too, and so what was typed is what is kept. Far more
# fits into no message.
_MOST_WHOLE = 2**53
# A comma ends a value only where another name follows: values may hold commas.
# It tries a row of spaces once, not from each of them.
_BETWEEN = re.compile(r"(?:(?<!\s)\s+)?,(?:(?=[^,=]*=)\s*|\s*$)")


def parse_settings(text: str) -> dict[str, Setting]:
    """Return the settings in what was typed, such as “cutouts=16, kind=soft”, as text.

    `complete` reads each as its option's own type.

    Raises:
        InvalidRequestError: it is not written like that, or a name comes twice.
    """
    found: dict[str, Setting] = {}
    for part in _BETWEEN.split(text.strip()):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not part:
            continue
        if not (name and equals and value):
            raise InvalidRequestError(
                "options",
                say(
                    "Options are written like cutouts=16, kind=soft; not {part}.", part=_show(part)
                ),
            )
        if name in found:
            raise InvalidRequestError(
                "options", say("The option {name} is given twice.", name=_show(name))
            )
        found[name] = value
    return found


def complete(
    settings: Mapping[str, Setting], engine: EngineInfo, *, kept: bool = False
) -> dict[str, Setting]:
    """Return every setting of the engine: as given, or its default.

    Settings `kept` in a recipe were complete: an option that they do not have has come since, and
    is as if it were not there (`OptionInfo.unsaid`).

    Text is read as the option's own type, so that a front may hand in what was typed.

    Raises:
        InvalidRequestError: a setting does not exist, or has a wrong value.
    """
    options = {option.name: option for option in engine.options}
    for name in settings:
        if name not in options:
            raise InvalidRequestError(name, _unknown(name, engine))
    unsaid = {name: option.if_unsaid for name, option in options.items()}
    return (unsaid if kept else engine.defaults) | {
        name: _value(options[name], given) for name, given in settings.items()
    }


def side_by_side(settings: Mapping[str, Setting]) -> bool:
    """Say whether slashes put prompts side by side with these settings, complete or as typed."""
    return _bool(settings.get("panorama", False)) is True


def mixes(engine: EngineInfo) -> bool:
    """Say whether a further picture is mixed into an engine's start picture if nothing is said."""
    return any(option.name == "blend" and option.default for option in engine.options)


def _unknown(name: str, engine: EngineInfo) -> str:
    names = [option.name for option in engine.options]
    if not names:
        return f"{engine.title} has no settings of its own; leave “{_show(name)}” out."
    close = difflib.get_close_matches(name, names, n=1)
    suggestion = f" Did you mean “{close[0]}”?" if close else ""
    return f"{engine.title} has no setting “{_show(name)}”.{suggestion} It has: {', '.join(names)}."


def _value(option: OptionInfo, given: Setting) -> Setting:
    default = option.default
    if isinstance(default, bool):
        value: Setting | None = _bool(given)
    elif isinstance(default, int):
        value = _int(given)
    elif isinstance(default, float):
        value = _float(given)
    else:
        value = clean(given) if isinstance(given, str) else None
    if value is None or not _within(option, value):
        raise InvalidRequestError(
            option.name, f"{option.name} is {_expected(option)}, not {_show(str(given))}."
        )
    return value


def _bool(given: Setting) -> bool | None:
    if isinstance(given, str):
        return _WORDS.get(given.strip().lower())
    return given if isinstance(given, bool) else None


def _int(given: Setting) -> int | None:
    number = _float(given)
    if number is None or not number.is_integer() or abs(number) > _MOST_WHOLE:
        return None
    return int(number)


def _float(given: Setting) -> float | None:
    if isinstance(given, bool):
        return None
    try:
        number = float(given)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _within(option: OptionInfo, value: Setting) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT and option.takes_text(value)
    low = -math.inf if option.minimum is None else option.minimum
    high = math.inf if option.maximum is None else option.maximum
    return low <= value <= high


def _expected(option: OptionInfo) -> str:
    default = option.default
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, str):
        if option.choices:
            several = ", or several of them with weights, as in a:1 + b:0.5"
            return f"one of {', '.join(option.choices)}{several if option.weighted else ''}"
        return f"a text of at most {MAX_TEXT} characters"
    kind = "a whole number" if isinstance(default, int) else "a number"
    match option.minimum, option.maximum:
        case None, None if isinstance(default, int):
            return f"{kind} of at most {_MOST_WHOLE:,}"
        case None, None:
            return kind
        case low, None if isinstance(default, int):
            return f"{kind} from {low:g} to {_MOST_WHOLE:,}"
        case low, None:
            return f"{kind} of at least {low:g}"
        case None, high:
            return f"{kind} of at most {high:g}"
        case low, high:
            return f"{kind} from {low:g} to {high:g}"


def _show(text: str) -> str:
    return shorten(clean(text), 40) or "nothing"

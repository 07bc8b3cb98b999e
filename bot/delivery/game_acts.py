"""What is done in games from Discord: opening one, entering, choosing, liking, taking back.

Who may do what is decided by `bot.games`; here it is said who they are, and what came of it.
"""

from __future__ import annotations

from typing import Any

import discord
from discord import ui

from bot.delivery.asking import asker_of
from bot.delivery.finding import find_dream
from bot.delivery.game_controls import Do, button, tidying_menus, withdraw_button
from bot.delivery.incoming import fetch
from bot.delivery.interactions import (
    Interaction,
    answered,
    channel_of,
    front_of,
    person_of,
    tell,
    theme_of,
    told,
)
from bot.delivery.modals import send_form
from bot.errors import ForbiddenError, InvalidRequestError, NotFoundError
from bot.games.model import Entry, Game, GameKind, GameState, Tried
from bot.games.reading import leads, moderates
from bot.games.rules import MAX_TEXT
from bot.sentences import Sentence, say

WRITING = say("Words were found in it: they do not count, and cost points.")


# --- opening -----------------------------------------------------------------------------------


async def draw(interaction: Interaction, prompt: str, *, minutes: float, machine: bool) -> None:
    """Open a game in which all draw the same.

    Raises:
        As `Games.start_draw` does; ForbiddenError: the bot may not post here.
    """
    _check_may_post(interaction)
    await front_of(interaction).games.start_draw(
        await theme_of(interaction),
        asker_of(interaction),
        prompt,
        seconds=60 * minutes,
        machine=machine,
    )
    await tell(interaction, say("The game begins."))


async def put_into_words(
    interaction: Interaction, dream: str | None, *, minutes: float, machine: bool
) -> None:
    """Open a game in which all say what a picture shows.

    Raises:
        As `Games.start_say` does; ForbiddenError: the bot may not post here.
    """
    _check_may_post(interaction)
    await front_of(interaction).games.start_say(
        await theme_of(interaction),
        asker_of(interaction),
        await _meant(interaction, dream),
        seconds=60 * minutes,
        machine=machine,
    )
    await tell(interaction, say("The game begins."))


async def guess(
    interaction: Interaction, dream: str | None, *, choices: int, minutes: float, machine: bool
) -> None:
    """Open a game in which all guess what a picture was drawn from.

    Raises:
        As `Games.start_guess` does; ForbiddenError: the bot may not post here.
    """
    _check_may_post(interaction)
    await front_of(interaction).games.start_guess(
        await theme_of(interaction),
        asker_of(interaction),
        await _meant(interaction, dream),
        choices=choices,
        seconds=60 * minutes,
        machine=machine,
    )
    await tell(interaction, say("The game begins."))


# --- playing -----------------------------------------------------------------------------------


async def game_here(interaction: Interaction) -> Game:
    """Return the game that goes on in this channel.

    Raises:
        NotFoundError: there is none.
    """
    _, channel_id = channel_of(interaction)
    game = await front_of(interaction).games.open_in(channel_id)
    if game is None:
        raise NotFoundError("There is no game in this channel. Open one: /game draw")
    return game


async def enter(interaction: Interaction, picture: discord.Attachment) -> None:
    """Enter a picture in the game of this channel.

    Raises:
        As `Games.enter_picture` does.
    """
    front, game = front_of(interaction), await game_here(interaction)
    if game.kind is not GameKind.DRAW:
        raise InvalidRequestError("picture", "This game is not about drawing. Look at its card.")
    data = await fetch(picture, front.library.uploads, "picture")
    tried = await front.games.enter_picture(game.id, asker_of(interaction), data)
    await _tell_tried(interaction, tried)


async def tell_how(interaction: Interaction, game_id: str) -> None:
    """Say how a drawing is entered."""
    front = front_of(interaction)
    game = await front.games.get(game_id)
    if not game.open:
        raise InvalidRequestError("game", "This game is over.")
    theme = await front.games.theme_of(game)
    if front.wall_url and front.games.may_show(game, theme):
        text = "Send your picture with /game enter, or paint it at <{url}>"
        await tell(interaction, say(text, url=f"{front.wall_url}/g/{game.id}"))
        return
    await tell(interaction, say("Send your picture with /game enter"))


async def ask_for_words(interaction: Interaction, game_id: str) -> None:
    """Show the form in which somebody says what a picture shows."""
    async with answered(interaction):
        game = await front_of(interaction).games.get(game_id)
        if not game.open:
            raise InvalidRequestError("game", "This game is over.")
        field: ui.TextInput[ui.Modal] = ui.TextInput(custom_id="words", max_length=MAX_TEXT)
        label = say("What does the picture show?")
        await send_form(interaction, f"game-form:{game.id}", say("Say it"), (label, field))


async def say_words(interaction: Interaction, game_id: str, text: str) -> None:
    """Enter what somebody says of a picture."""
    games = front_of(interaction).games
    await _tell_tried(interaction, await games.enter_text(game_id, asker_of(interaction), text))


async def choose(interaction: Interaction, game_id: str, index: int) -> None:
    """Take one of the prompts."""
    games = front_of(interaction).games
    await games.choose(game_id, asker_of(interaction), index)
    number = index + 1
    await tell(
        interaction,
        say("You took number {number}. It is told when the game is over.", number=number),
    )


async def heart(interaction: Interaction, entry_id: str) -> None:
    """Like an entry, or no more."""
    liked, _ = await front_of(interaction).games.heart(entry_id, asker_of(interaction))
    await tell(interaction, say("You like it.") if liked else say("You like it no more."))


async def show_own(interaction: Interaction, game_id: str) -> None:
    """Tell somebody how their own entry stands, with a button to take it back."""
    games, person = front_of(interaction).games, person_of(interaction)
    game = await games.get(game_id)
    for one in await games.standings(game_id, person):
        if one.entry.person.id != person.id:
            continue
        if game.kind is GameKind.GUESS:
            number = (one.entry.choice or 0) + 1
            text = say("You took number {number}.", number=number)
        else:
            parts: dict[str, Any] = {"score": one.entry.score or 0.0, "place": one.place}
            text = say("Your best has {score:.1f} of 100, and came to place {place}.", **parts)
            if game.open:
                text = say(
                    "Your best has {score:.1f} of 100, at present at place {place}.", **parts
                )
        await tell(interaction, text, view=_take_back(interaction, one.entry))
        return
    raise NotFoundError("You have entered nothing in this game.")


# --- ending ------------------------------------------------------------------------------------


async def ask_whether_to_end(interaction: Interaction, game_id: str) -> None:
    """Ask once more.

    Raises:
        ForbiddenError: it is not theirs to end.
    """
    if not leads(await front_of(interaction).games.get(game_id), asker_of(interaction)):
        raise ForbiddenError("Only who opened the game, or a moderator, can end it.")
    view = ui.View(timeout=None)
    view.add_item(button(Do.SURELY, game_id, told(interaction, say("Yes, end it"))))
    view.stop()
    text = say("End the game now? Who stands best has won.")
    await tell(interaction, text, view=view)


async def end(interaction: Interaction, game_id: str) -> None:
    """End a game."""
    await front_of(interaction).games.end(game_id, asker_of(interaction))
    await tell(interaction, say("The game is over."), view=None)


async def call_off(interaction: Interaction) -> None:
    """Take the game of this channel away, with all that was entered."""
    game = await game_here(interaction)
    await front_of(interaction).games.call_off(game.id, asker_of(interaction))
    await tell(interaction, say("The game is called off. What was entered is gone."))


async def tidy(interaction: Interaction, game_id: str) -> None:
    """Offer who leads a game to call it off, and moderators to take single entries away.

    Raises:
        ForbiddenError: they neither opened it nor moderate here.
        InvalidRequestError: it was called off.
    """
    games, actor = front_of(interaction).games, asker_of(interaction)
    game = await games.get(game_id)
    if not leads(game, actor):
        raise ForbiddenError("Only who opened the game, or a moderator, can do that.")
    if game.state is GameState.CALLED_OFF:
        raise InvalidRequestError("game", "This game was called off already.")
    view = ui.View(timeout=None)
    if moderates(game, actor):
        entries = await games.to_moderate(game.id, actor)
        for menu in tidying_menus(game, entries, told(interaction, say("Take an entry away"))):
            view.add_item(menu)
    view.add_item(button(Do.OFF, game.id, told(interaction, say("Call it off"))))
    view.stop()
    text = say("What is taken away is deleted. With a game that is called off, so is all of it.")
    await tell(interaction, text, view=view)


async def call_off_one(interaction: Interaction, game_id: str) -> None:
    """Take a game away, also one that is over."""
    await front_of(interaction).games.call_off(game_id, asker_of(interaction))
    text = say("The game is called off. What was entered is gone.")
    await tell(interaction, text, view=None)


async def withdraw(interaction: Interaction, entry_id: str) -> None:
    """Take an entry away."""
    await front_of(interaction).games.withdraw(entry_id, asker_of(interaction))
    await tell(interaction, say("It is taken away."), view=None)


async def withdraw_here(interaction: Interaction, person: discord.User | None) -> None:
    """Take somebody's entry in the game of this channel away, one's own if nobody is named.

    Raises:
        As `Games.withdraw` does; NotFoundError: they have entered nothing.
    """
    games, game = front_of(interaction).games, await game_here(interaction)
    person_id = person_of(interaction).id if person is None else f"discord:{person.id}"
    entry = await games.entry_of(game.id, person_id)
    if entry is None:
        raise NotFoundError("There is no such entry in this game.")
    await withdraw(interaction, entry.id)


async def _tell_tried(interaction: Interaction, tried: Tried) -> None:
    score, left = tried.score or 0.0, tried.left
    text: Sentence
    if tried.best:
        text = say(
            "It has {score:.1f} of 100. You can try {left} more times.", score=score, left=left
        )
    else:
        text = say(
            "It has {score:.1f} of 100; your best has {best:.1f}. You can try {left} more times.",
            score=score,
            best=tried.entry.score or 0.0,
            left=left,
        )
    if tried.writing:
        text = say("{told} {why}", told=text, why=WRITING)
    await tell(interaction, text, view=_take_back(interaction, tried.entry))


def _take_back(interaction: Interaction, entry: Entry) -> ui.View:
    view = ui.View(timeout=None)
    view.add_item(withdraw_button(entry.id, told(interaction, say("Take it back"))))
    view.stop()
    return view


async def _meant(interaction: Interaction, text: str | None) -> str | None:
    return None if text is None else (await find_dream(interaction, text)).id


def _check_may_post(interaction: Interaction) -> None:
    has, in_thread = interaction.app_permissions, isinstance(interaction.channel, discord.Thread)
    sends = has.send_messages_in_threads if in_thread else has.send_messages
    if not (has.view_channel and has.attach_files and sends):
        raise ForbiddenError(
            "A game needs a channel in which I may post messages and files. Allow me View Channel, "
            "Send Messages and Attach Files here, or take another channel."
        )

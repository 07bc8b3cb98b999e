"""Who may see what, for every address of the wall. A route without a line here fails the walk."""

from __future__ import annotations

from enum import Enum, auto


class Rule(Enum):
    """What decides whether somebody is answered."""

    ALL = auto()
    """It shows nothing of any stream but the public ones, to everybody."""
    STREAM = auto()
    """Whoever sees the theme `{slug}`."""
    DREAM = auto()
    """Whoever sees the theme of the dream `{dream_id}` (or ``?d=``), which is published."""
    GAME = auto()
    """Whoever sees the theme of the game `{game_id}`."""
    BUNDLE = auto()
    """Whoever sees the theme of the party `{party_id}`, once it is published."""
    CODE = auto()
    """Whoever has the code of a party that is at the wall."""
    LEADER = auto()
    """Of those, who leads the party."""
    OWN = auto()
    """Only the guest whose it is."""
    NAME = auto()
    """Whoever was told a name that cannot be guessed."""
    MACHINE = auto()
    """Only who sits at the machine itself."""


RULES: dict[str, Rule] = {
    "/": Rule.ALL,
    "/all": Rule.ALL,
    "/all/events": Rule.ALL,
    "/all/more": Rule.ALL,
    "/all/watch": Rule.ALL,
    "/b/{party_id}": Rule.BUNDLE,
    "/b/{party_id}/{path}": Rule.BUNDLE,
    "/d/{dream_id}": Rule.DREAM,
    "/d/{dream_id}/animate": Rule.DREAM,
    "/d/{dream_id}/blend": Rule.DREAM,
    "/d/{dream_id}/cancel": Rule.DREAM,
    "/d/{dream_id}/continue": Rule.DREAM,
    "/d/{dream_id}/delete": Rule.DREAM,
    "/d/{dream_id}/extend": Rule.DREAM,
    "/d/{dream_id}/files/{name}": Rule.DREAM,
    "/d/{dream_id}/heart": Rule.DREAM,
    "/d/{dream_id}/like": Rule.DREAM,
    "/d/{dream_id}/play": Rule.DREAM,
    "/d/{dream_id}/preview.webp": Rule.DREAM,
    "/d/{dream_id}/rank": Rule.DREAM,
    "/d/{dream_id}/redo": Rule.DREAM,
    "/d/{dream_id}/redraw": Rule.DREAM,
    "/d/{dream_id}/release": Rule.DREAM,
    "/d/{dream_id}/repaint": Rule.DREAM,
    "/d/{dream_id}/steer": Rule.DREAM,
    "/d/{dream_id}/study": Rule.DREAM,
    "/d/{dream_id}/study.webp": Rule.DREAM,
    "/d/{dream_id}/together": Rule.DREAM,
    "/d/{dream_id}/upscale": Rule.DREAM,
    "/d/{dream_id}/variations": Rule.DREAM,
    "/exports/{token}.zip": Rule.NAME,
    "/g/{game_id}": Rule.GAME,
    "/g/{game_id}/call-off": Rule.GAME,
    "/g/{game_id}/choice": Rule.GAME,
    "/g/{game_id}/end": Rule.GAME,
    "/g/{game_id}/entries/{entry_id}.webp": Rule.GAME,
    "/g/{game_id}/entries/{entry_id}/heart": Rule.GAME,
    "/g/{game_id}/entries/{entry_id}/withdraw": Rule.GAME,
    "/g/{game_id}/events": Rule.GAME,
    "/g/{game_id}/picture": Rule.GAME,
    "/g/{game_id}/picture.webp": Rule.GAME,
    "/g/{game_id}/words": Rule.GAME,
    "/healthz": Rule.ALL,
    "/i/{sha256}.png": Rule.DREAM,
    "/join": Rule.ALL,
    "/l/{token}": Rule.NAME,
    "/machine": Rule.ALL,
    "/me": Rule.ALL,
    "/near": Rule.ALL,
    "/p/{code}": Rule.CODE,
    "/p/{code}/credit": Rule.CODE,
    "/p/{code}/draw": Rule.CODE,
    "/p/{code}/end": Rule.LEADER,
    "/p/{code}/events": Rule.CODE,
    "/p/{code}/finale": Rule.LEADER,
    "/p/{code}/join": Rule.CODE,
    "/p/{code}/leave": Rule.CODE,
    "/p/{code}/members/{mark}/remove": Rule.LEADER,
    "/p/{code}/members/{mark}/role": Rule.LEADER,
    "/p/{code}/pair": Rule.CODE,
    "/p/{code}/part/{part}": Rule.CODE,
    "/p/{code}/picture/{dream_id}": Rule.CODE,
    "/p/{code}/picture/{dream_id}/combine": Rule.CODE,
    "/p/{code}/picture/{dream_id}/favour": Rule.CODE,
    "/p/{code}/picture/{dream_id}/grow": Rule.CODE,
    "/p/{code}/picture/{dream_id}/points": Rule.CODE,
    "/p/{code}/picture/{dream_id}/steer": Rule.CODE,
    "/p/{code}/publish": Rule.LEADER,
    "/p/{code}/qr.svg": Rule.CODE,
    "/p/{code}/screen": Rule.CODE,
    "/p/{code}/screen/{part}": Rule.CODE,
    "/p/{code}/settings": Rule.LEADER,
    "/p/{code}/show": Rule.CODE,
    "/p/{code}/show/slide": Rule.CODE,
    "/p/{code}/stage": Rule.LEADER,
    "/p/{code}/timer": Rule.LEADER,
    "/p/{code}/words": Rule.CODE,
    "/p/{code}/words/{words_id}/hide": Rule.CODE,
    "/parties": Rule.ALL,
    "/parties/new": Rule.ALL,
    "/portraits": Rule.ALL,
    "/portraits/drafts/{token}": Rule.OWN,
    "/portraits/drafts/{token}/agree": Rule.OWN,
    "/portraits/drafts/{token}/discard": Rule.OWN,
    "/portraits/{dream_id}/picture.webp": Rule.OWN,
    "/portraits/{dream_id}/revoke": Rule.OWN,
    "/readyz": Rule.ALL,
    "/s/{slug}": Rule.STREAM,
    "/s/{slug}/best": Rule.STREAM,
    "/s/{slug}/best/part": Rule.STREAM,
    "/s/{slug}/choices": Rule.STREAM,
    "/s/{slug}/day": Rule.STREAM,
    "/s/{slug}/day/{day}": Rule.STREAM,
    "/s/{slug}/day/{day}/part": Rule.STREAM,
    "/s/{slug}/dreams": Rule.STREAM,
    "/s/{slug}/events": Rule.STREAM,
    "/s/{slug}/feed.atom": Rule.STREAM,
    "/s/{slug}/found": Rule.STREAM,
    "/s/{slug}/found/part": Rule.STREAM,
    "/s/{slug}/games": Rule.STREAM,
    "/s/{slug}/more": Rule.STREAM,
    "/s/{slug}/picture.webp": Rule.STREAM,
    "/s/{slug}/portrait": Rule.STREAM,
    "/s/{slug}/search": Rule.STREAM,
    "/s/{slug}/study": Rule.STREAM,
    "/s/{slug}/theme.toml": Rule.STREAM,
    "/s/{slug}/watch": Rule.STREAM,
    "/s/{slug}/words": Rule.STREAM,
    "/sign-in": Rule.ALL,
    "/sign-in/discord": Rule.ALL,
    "/sign-out": Rule.ALL,
    "/static/{name}": Rule.ALL,
    "/t/{sha256}.webp": Rule.DREAM,
    "/themes": Rule.ALL,
    "/themes/{slug}/picture": Rule.MACHINE,
    "/words": Rule.ALL,
}
ONLY_MACHINE = frozenset({("POST", "/themes"), ("POST", "/themes/{slug}/picture")})
"""What is posted there is for who sits at the machine, whoever may look."""

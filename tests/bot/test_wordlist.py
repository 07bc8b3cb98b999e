from __future__ import annotations

import time

import pytest

from bot.wordlist import Words, has_letters, unsafe_words

BAD = Words.of(["Snark", "boojum hunt", "grue*", "año", "悪い", "zax"])


@pytest.mark.parametrize(
    "text",
    [
        "a snark",
        "SNARK!",
        "a:2|snark:-1",
        "the Snärk, in oil",
        "ｓｎａｒｋ",
        "𝓼𝓷𝓪𝓻𝓴",
        "🅂🄽🄰🅁🄺",
        "🅢🅝🅐🅡🅚",
        "s\u200bn\u00ada\u200drk",
        "sn\u0430rk",  # a Cyrillic letter in its middle
        "5n4rk",
        "$n@rk",
        "sn\u3164ark",  # a letter that nothing is seen of
        "sn\u1160ark",
        "sn\uffa0ark",
        "sn\u2065ark",
        "sn\ufff0ark",
        "sn\U000e0fffark",
        "ꜱɴᴀʀᴋ",
        "ꓢꓠꓮꓣꓗ",
        "snɑrk",
        "ʂɲaɾƙ",
        "snark1",
        "99snark",
        "\u13da\u0273\u13aa\u13a1\u13e6",  # mostly Cherokee
        "snaaaaark",
        "s n a r k",
        "a s.n.a.r.k in a wood",
        "s-n-4-r-k",
        "a boojum   hunt at dawn",
        "a b00jum-hunt",
        "boojum|hunt",
        "gruesome",
        "a grue",
        "z a x",
        "この悪い絵",
        "ano",  # folded, an accent more or less is the same word
    ],
)
def test_a_blocked_word_is_found_however_it_is_written(text: str) -> None:
    assert BAD.within(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a red fox",
        "snarky",  # whole words
        "a disnark",
        "boojum and a hunt",
        "4k, 8k, 3d, f1.8, 35mm, mp3",
        "hunt boojum",
        "congruent",
        "5 4 9 7 a",
        "1000000 stars",
        "s n a r k s",
        "zaxon",
        "良い",
        "snar k",
        "{red|blue} __animal__ \\| :::",
    ],
)
def test_other_words_are_left_alone(text: str) -> None:
    assert not BAD.within(text)


def test_an_exception_spares_what_is_within_it_and_nothing_else() -> None:
    spared = ["Snark Island", "snärk"]
    assert not BAD.within("a map of snark island", spared)
    assert BAD.within("a snark on snark island", spared)
    assert BAD.within("a snark, island", ["other"])
    # An exception is a word as it is written: another accent is another word.
    assert not BAD.within("snärk", spared)
    assert BAD.within("snårk", spared)
    assert not BAD.within("この悪い絵", ["悪い絵"])


def test_a_term_without_letters_is_none() -> None:
    assert not has_letters("*")
    assert not has_letters(" - ")
    assert not Words.of(["*", "", "…"]).within("* … anything")


def test_the_shipped_list_leaves_common_prompts_alone() -> None:
    words = Words.of(unsafe_words())
    for text in (
        "a cockatoo and a peacock in Essex",
        "Dick Tracy eating a bite of pie at a cocktail party",
        "blue tits and great tits on a branch, Wankel engine",
        "schöne Vögeln über dem Wald, ein geiler Traum",
        "an assassin in the grass, classic, Scunthorpe, middlesex",
        "a rose in cumulus clouds, magna documentary",
        "une vue de Paris, la nuée",
        "the Moulin Rouge, oil on canvas, by Toulouse-Lautrec",
    ):
        assert not words.within(text), text
    for text in ("a nude woman", "NSFW", "pornographic", "n u d e", "p0rn", "eine nackte Frau"):
        assert words.within(text), text


def test_a_prompt_takes_as_long_as_it_is_long() -> None:
    words = Words.of([f"term{n} word{n}" for n in range(250)] + [f"single{n}" for n in range(250)])
    exceptions = [f"single{n} of its kind" for n in range(500)]

    def cost_s(times: int) -> float:
        text = "a5b1c1d1 single single7x term3 word4 🅂 é " * times
        assert not words.within(text, exceptions)  # and everything is warm
        begun = time.thread_time()
        words.within(text, exceptions)
        return time.thread_time() - begun

    # Were each word compared with all others, sixteen times the words would cost 256 times as much.
    assert any(cost_s(400) < 64 * cost_s(25) for _ in range(3))

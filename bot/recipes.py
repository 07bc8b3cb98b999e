"""Put a picture's recipe into its PNG, and read it back from a stranger's file.

Only chunks are moved: the pixels are never decoded or encoded again, and the same picture with
the same recipe gives the same bytes. docs/recipes.md says what is written. This module knows
neither the library nor the database.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from importlib import metadata
from xml.sax.saxutils import escape

import msgspec

from bot.journeys import described
from generation.protocol import Recipe

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEYWORD = "dreamstream"
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
MAX_RECIPE_BYTES = 256 * 1024
FORMAT = 1

_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME")
_XMP_KEYWORD = "XML:com.adobe.xmp"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What the ``dreamstream`` text holds, as JSON.

    `prompt` is what the person typed; the recipe's is that with everything filled in. `licence`
    is the model's, empty where it is not known.
    """

    format: int = FORMAT
    software: str = ""
    licence: str = ""
    prompt: str = ""
    recipe: Recipe


class NotPngError(ValueError):
    """The bytes are not a whole PNG file."""


_decoder = msgspec.json.Decoder(Document)


def software() -> str:
    """Return this program's name and version."""
    try:
        return f"dreamstream {metadata.version('dreamstream')}"
    except metadata.PackageNotFoundError:
        return "dreamstream"


def embed(png: bytes, recipe: Recipe, *, prompt: str = "", licence: str = "") -> bytes:
    """Return the PNG with the recipe in it, in place of whatever texts it had.

    Raises:
        NotPngError: `png` is not a whole PNG file.
    """
    document = Document(software=software(), licence=licence, prompt=prompt, recipe=recipe)
    texts = (
        _text("parameters", parameters(recipe)),
        _text(KEYWORD, msgspec.json.encode(document).decode()),
        _text("Software", document.software),
        _international(_XMP_KEYWORD, _xmp(recipe, licence)),
    )
    parts = [SIGNATURE]
    for kind, chunk in _chunks(png):
        if kind not in _TEXT_CHUNKS:
            parts.append(chunk)
        if kind == b"IHDR":
            parts.extend(texts)
    return b"".join(parts)


def read_document(png: bytes) -> Document | None:
    """Return what `embed` wrote, or None if there is no such thing that can be trusted.

    Safe for any bytes: what it reads is bounded, and nothing is decompressed.
    """
    try:
        for kind, chunk in _chunks(png):
            if kind not in (b"tEXt", b"iTXt") or len(chunk) > MAX_RECIPE_BYTES:
                continue
            text = _text_of(kind, chunk[8:-4])
            if text is not None:
                document = _decoder.decode(text)
                return document if document.format == FORMAT else None
    except (NotPngError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None


def read_recipe(png: bytes) -> Recipe | None:
    """Return the recipe in a PNG, or None if there is none; safe for any bytes."""
    document = read_document(png)
    return None if document is None else document.recipe


def parameters(recipe: Recipe) -> str:
    """Write a recipe in the form that other programs show and read."""
    details: list[tuple[str, object]] = [("Steps", recipe.steps)]
    if recipe.guidance is not None:
        details.append(("CFG scale", _number(recipe.guidance)))
    details.append(("Seed", recipe.seed))
    details.append(("Size", f"{recipe.width}x{recipe.height}"))
    details.append(("Model", recipe.model))
    details.append(("Engine", recipe.engine))
    if recipe.init_sha256 is not None:
        details.append(("Denoising strength", _number(recipe.strength)))
        details.append(("Init image hash", recipe.init_sha256[:16]))
    details.extend(sorted(recipe.settings.items()))
    details.extend(described(recipe.journey) if recipe.journey is not None else ())
    details.append(("Version", software()))
    lines = [recipe.prompt]
    lines.extend(f"Steer at step {steer.step}: {steer.prompt}" for steer in recipe.steers)
    if recipe.negative:
        lines.append(f"Negative prompt: {recipe.negative}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in details))
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:g}"


def _quoted(value: object) -> str:
    text = str(value)
    if any(sign in text for sign in ',:\n"'):
        return msgspec.json.encode(text).decode()
    return text


def _xmp(recipe: Recipe, licence: str) -> str:
    rights = f"Model {recipe.model}: {licence}" if licence else ""
    rights_element = (
        f'<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">{escape(rights)}</rdf:li>'
        "</rdf:Alt></dc:rights>"
        if rights
        else ""
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about=""'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"<Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
        f"<xmp:CreatorTool>{escape(software())}</xmp:CreatorTool>{rights_element}"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="r"?>'
    )


def _text(keyword: str, text: str) -> bytes:
    """Return a tEXt chunk, or an iTXt one where the text is not Latin-1."""
    try:
        body = text.encode("latin-1")
    except UnicodeEncodeError:
        return _international(keyword, text)
    return _chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + body)


def _international(keyword: str, text: str) -> bytes:
    return _chunk(b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8"))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _text_of(kind: bytes, body: bytes) -> str | None:
    """Return the text of a chunk with our keyword; None for other keywords and compressed text."""
    keyword, found, rest = body.partition(b"\0")
    if not found or keyword != KEYWORD.encode():
        return None
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if rest[:1] != b"\0":
        return None
    _language, _, rest = rest[2:].partition(b"\0")
    _translated, _, text = rest.partition(b"\0")
    return text.decode("utf-8")


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's kind and its bytes, length and checksum included, up to the last."""
    if not png.startswith(SIGNATURE):
        raise NotPngError("these bytes are not a PNG file")
    position = len(SIGNATURE)
    first = True
    while position + 12 <= len(png):
        length = int.from_bytes(png[position : position + 4], "big")
        kind = png[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(png):
            break
        chunk = png[position:end]
        # Pixels are checked by whoever decodes them; only what is read here must be sound.
        if kind in (b"IHDR", *_TEXT_CHUNKS) and zlib.crc32(chunk[4:-4]) != int.from_bytes(
            chunk[-4:], "big"
        ):
            raise NotPngError("a chunk of this PNG file is damaged")
        if first and kind != b"IHDR":
            break
        first = False
        yield kind, chunk
        if kind == b"IEND":
            return
        position = end
    raise NotPngError("this PNG file is cut off")

"""What every request passes: the host it names, where it came from, and the answer's headers."""

from __future__ import annotations

import functools
import ipaddress
import secrets
import socket

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from bot.errors import ForbiddenError, RequestError
from bot.wall.settings import WallSettings

_nonce_key = web.RequestKey("nonce", str)
_tag_key = web.RequestKey("tag", str)
# Who looks after services asks by names of their own, and is told nothing but how things stand.
HEALTH = frozenset({"/healthz", "/readyz"})
_MOST_HOPS = 16
_LONGEST_HOP = 80  # an address with an interface's name and a port; what is read is remembered
_WIDTHS = {4: (16, 24), 6: (32, 48)}
_FORWARDED = frozenset(
    {"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"}
)
"""What proxies add. A browser sends none, and no page can have it do so without being asked."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class MisdirectedError(RequestError):
    """The request names a host that this wall is not."""


def nonce_of(request: web.Request) -> str:
    """Return the request's nonce: the page's one style element is named by it."""
    nonce = request.get(_nonce_key)
    if nonce is None:
        nonce = secrets.token_urlsafe(12)
        request[_nonce_key] = nonce
    return nonce


def mark(request: web.Request, tag: str) -> None:
    """Have a file's answer named by a tag of ours: aiohttp's own is of the time and the size."""
    request[_tag_key] = tag


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers of every answer; a signal, so that streams and files have them as well."""
    guard(response, nonce_of(request))
    tag = request.get(_tag_key)
    if tag is not None:
        response.headers["ETag"] = f'"{tag}"'
        response.headers.pop("Last-Modified", None)


def guard(response: web.StreamResponse, nonce: str = "") -> None:
    """Set the headers that guard an answer; its one style element is named by the nonce."""
    style = f"'self' 'nonce-{nonce}'" if nonce else "'none'"
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        f"media-src 'self'; style-src {style}; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    )
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "Dreamstream"  # aiohttp tells its version, and Python's


def check_origin(settings: WallSettings) -> Middleware:
    """Return the middleware that turns away what a strange page makes a browser send.

    Two ways: a form on another page that posts here (told by Sec-Fetch-Site, and by Origin where
    a browser does not send that), and a name of another site that was made to point here (DNS
    rebinding, told by Host). Addresses in digits cannot be rebound, so guests in the room may
    use any of them.
    """
    own = frozenset({"localhost", *_names_of_this_machine()})
    public = URL(settings.public_url) if settings.public_url else None

    def is_here(host: str) -> bool:
        name = _without_port(host)
        if public is not None and public.host and name == public.host.lower():
            return True
        return settings.mode == "local" and (name in own or _is_address(name))

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        # Behind a proxy without a public_url it is the proxy that decides which names are served.
        strict = settings.mode == "local" or public is not None
        named = strict and request.path not in HEALTH
        if not _is_name(request) or (named and not all(map(is_here, _names(request)))):
            raise MisdirectedError(
                "This wall does not go by that name. Use the address that Dreamstream printed, "
                "or set wall.public_url to this one."
            )
        if request.method not in _SAFE_METHODS:
            _check_sender(request, host, public)
        return await handler(request)

    return check


def is_called_as_public(request: web.Request, settings: WallSettings) -> bool:
    """Say whether a request names the host of `public_url`, by whatever port."""
    public = URL(settings.public_url).host if settings.public_url else None
    return bool(public) and _without_port(request.headers.get("Host", "")) == str(public).lower()


def _names(request: web.Request) -> list[str]:
    """Return what a request calls this wall: in its Host, and in the address if that is whole."""
    names = [request.headers.get("Host", "")]
    scheme, whole, rest = request.raw_path.partition("://")
    if whole and scheme.isalpha():
        names.append(rest.partition("/")[0].rpartition("@")[2])
    return names


def _is_name(request: web.Request) -> bool:
    """Say whether an address can be made of what the wall was called: pages tell their own."""
    try:
        return request.url.absolute
    except ValueError:
        return False


def _check_sender(request: web.Request, host: str, public: URL | None) -> None:
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None and site not in ("same-origin", "none"):
        raise ForbiddenError("That was sent from another site. Please do it on the wall itself.")
    if origin is not None:
        hosts = {host.lower()}
        if public is not None:
            hosts.add(public.authority.lower())
        sender = origin.partition("://")[2].lower()
        if not sender or sender not in hosts:
            raise ForbiddenError(
                "That was sent from another site. Please do it on the wall itself."
            )


def address_of(request: web.Request, settings: WallSettings) -> str:
    """Say which address a request is from, for limits.

    What is returned may stand for more than one address: see `block_of`.
    """
    return block_of(heard_from(request, settings), settings)


def heard_from(request: web.Request, settings: WallSettings) -> str:
    """Say which address a request is from, as it was heard.

    A proxy appends whom it heard from. So read from the end, past those that are trusted, the
    first is the one that nobody else can have written. Who is no trusted proxy is not asked.
    """
    address = request.remote or ""
    if settings.mode != "proxy":
        return address
    said = ",".join(request.headers.getall("X-Forwarded-For", ()))
    # More than any chain of proxies: who fills the header with commas is not to cost anything.
    hops = [hop.strip() for hop in said.rsplit(",", _MOST_HOPS)[-_MOST_HOPS:] if hop.strip()]
    while hops and is_trusted(address, settings):
        heard = _plain_address(hops.pop())
        if heard is None:
            break
        address = heard
    return address


def is_forwarded(request: web.Request) -> bool:
    """Say whether a request says that something passed it on: a proxy, or the end of a tunnel."""
    return not _FORWARDED.isdisjoint(name.lower() for name in request.headers)


def block_of(address: str, settings: WallSettings) -> str:
    """Return what stands for an address in limits.

    Who has one IPv6 address on the internet has 2⁶⁴ of them: the /64 that a customer is given at
    the least (RFC 6177). In one room those are everybody's, so there each address counts.
    """
    return _block(address, settings.mode == "proxy")


def networks_of(address: str, settings: WallSettings) -> tuple[str, ...]:
    """Return the networks that an address may share with others of the same hand, widest first.

    Of IPv6 a provider's (/32), a site's (/48) and a customer's (/64), of IPv4 a /16, a /24 and the
    address itself: the last is what `block_of` returns. In one room there is but that.
    """
    block = block_of(address, settings)
    if settings.mode != "proxy":
        return (block,)
    found = _read(address)
    if found is None:
        return (block,) * (len(_WIDTHS[4]) + 1)
    return (*(str(_network(found, width)) for width in _WIDTHS[found.version]), block)


def _network(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, width: int
) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network((address, width), strict=False)


def is_trusted(address: str, settings: WallSettings) -> bool:
    """Say whether an address is one of the proxies in front of this wall."""
    found = _read(address)
    return found is not None and any(found in network for network in settings.trusted_proxies)


def is_loopback(address: str) -> bool:
    """Say whether an address is this machine's own."""
    found = _read(address)
    return found is not None and found.is_loopback


# Remembered: each request is asked more than once whom it counts for, and reading is slow.
@functools.lru_cache(maxsize=4096)
def _block(address: str, networks: bool) -> str:
    found = _read(address)
    if found is None:
        return address
    if networks and isinstance(found, ipaddress.IPv6Address):
        return f"{ipaddress.IPv6Address(int(found) >> 64 << 64)}/64"
    return str(found)


@functools.lru_cache(maxsize=4096)
def _read(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return what an address is; IPv4 in the guise of IPv6 is IPv4."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _plain_address(hop: str) -> str | None:
    """Return the address of a hop, which may have a port; None where it has none."""
    if len(hop) > _LONGEST_HOP:
        return None
    found = _read(hop) or _read(_without_port(hop))
    return None if found is None else str(found)


def _names_of_this_machine() -> set[str]:
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0], f"{name.partition('.')[0]}.local"} - {"", ".local"}


def _without_port(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

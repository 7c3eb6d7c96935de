"""Readers of addresses: where to listen, where services are, which networks to believe, which origins may call."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

from msgspec import structs

from rawgate.config.constraints import Address, AddressRange, Host, ListenAddress, Nameserver, Origin, TargetUrl
from rawgate.config.context import Context
from rawgate.config.invalid import InvalidError, choice, nearest, one_meant, quoted, shown
from rawgate.config.model import Listen, Target, Trusted, listen_name

HOST = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"
"""What looks like a host in the Host field. `canonical_host` decides whether it is one."""

_AUTHORITY = re.compile(rf"(?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_HOST_PORT = re.compile(r"(?P<host>.*):(?P<port>[0-9]{1,5})", re.DOTALL)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MODE = re.compile(r"0?[0-7]{3}")
_ALL_BITS = 0o777
_EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 (compared with and suggested, never bound from here)
_ROOT_DOT = re.compile(r"(?<=[A-Za-z0-9_])\.(?=(?::[0-9]{1,5})?\Z)")
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+/?")
_IDNA_DEVIATIONS = frozenset("\u00df\u03c2\u200c\u200d")
"""Sharp s, final sigma and the zero-width joiners: IDNA2003, which Python's codec speaks, and IDNA2008 make different
names of them (UTS 46, section 4)."""
UNIX_PATH = 107  # octets that fit in sockaddr_un.sun_path beside its NUL, on Linux


def canonical_host(text: str) -> str | None:
    """A host in lower case, an IPv6 address in its shortest form between brackets; None when `text` is no host."""
    if text.startswith("["):
        try:
            return f"[{IPv6Address(text[1:-1])}]"
        except ValueError:
            return None
    # RFC 1035 section 2.3.4: a longer label cannot be looked up.
    if ".." in text or len(text) > 253 or max(map(len, text.split("."))) > 63:
        return None
    # A name whose last label is a number would be taken for an address (WHATWG URL, "host parsing").
    if text.rpartition(".")[2].isdigit() and not _is_ipv4(text):
        return None
    return text.lower()


def host(constraint: Host, value: object, context: Context) -> str:
    """The host of a route, to compare the Host field with."""
    if isinstance(value, list | tuple) and len(value) > 1:
        raise InvalidError("a list is not text", expected=f"{constraint.expected}; a route for each")
    text = _string(value, constraint.expected)
    if text in ("*", "_"):  # "_" is what nginx's users name a server that takes any host
        raise InvalidError(f"{shown(text)} is not a host", expected="the key left out: then any is taken")
    star = "*." if text.startswith("*.") else ""
    match = _AUTHORITY.fullmatch(text.removeprefix(star))
    found = match and canonical_host(match["host"])
    if match is None or not found or (star and (found.startswith("[") or _is_ipv4(found))):
        # nginx reads ".example.com" as example.com and all names below it.
        meant = quoted(f"*{text}") if text.startswith(".") and canonical_host(text[1:]) else _host_meant(text)
        raise InvalidError(f"{shown(text)} {_not(text, 'is not a host')}", expected=constraint.expected, meant=meant)
    if match["port"] is not None:
        raise InvalidError(f"{shown(text)} has a port", expected=constraint.expected, meant=quoted(star + found))
    return star + found


def _not(text: str, what: str) -> str:
    """What is wrong with text that is no host: that it has letters beyond ASCII, else `what`."""
    return what if text.isascii() else 'has letters beyond ASCII, which a host has as "xn--…"'


def in_ascii(host: str) -> str:
    """The "xn--" form (RFC 3490) of a name in letters beyond ASCII; "" when there is none, or more than one."""
    if host.isascii() or not _IDNA_DEVIATIONS.isdisjoint(host):
        return ""
    try:
        found = host.encode("idna").decode()
    except UnicodeError:
        return ""
    return found.lower() if re.fullmatch(HOST, found) and canonical_host(found) else ""


def _authority_meant(text: str) -> tuple[str, int | None] | None:
    """Host and port that were meant by text with a root dot or letters beyond ASCII, or None."""
    host, colon, port = text.partition(":")
    ascii_name = in_ascii(host.removesuffix("."))
    return _authority(f"{ascii_name}{colon}{port}" if ascii_name else _ROOT_DOT.sub("", text))


def _origin_meant(text: str) -> str:
    """The origin that was meant by an authority without scheme, or "". Pages come over TLS, except those from the
    developer's own machine."""
    url = _URL.fullmatch(text)
    if url is not None and not text.isascii():
        found = _authority_meant(url["authority"]) if url["rest"] in ("", "/") else None
        return quoted(f"{url['scheme'].lower()}://{_written(found)}") if found else ""
    found = _authority_meant(text.removesuffix("/"))
    if found is None:
        return ""
    is_here = found[0] == "localhost" or found[0].startswith("127.")
    scheme = "http" if is_here else "https"
    return quoted(f"{scheme}://{found[0]}{'' if found[1] in (None, _DEFAULT_PORTS[scheme]) else f':{found[1]}'}")


def _host_meant(text: str) -> str:
    """The host that was meant by "https://a.test", "a.test." or "::1", or ""."""
    url = _URL.fullmatch(text)
    authority = url["authority"] if url and url["rest"] in ("", "/") else text
    found = _authority_meant(f"[{authority}]" if ":" in authority and _is_ip(authority) else authority)
    return quoted(found[0]) if found else ""


def listen(constraint: ListenAddress, value: object, context: Context) -> Listen:
    """An address to listen on, alone or in a table with what is spoken there and the mode of its Unix socket. The
    relative path of a socket starts at the configuration's folder."""
    if isinstance(value, Listen):
        if value.mode is not None and not 0 <= value.mode <= _ALL_BITS:
            raise InvalidError(f"{shown(value.mode)} is not a mode", expected=constraint.mode)
        written: Mapping[str, object] = {"mode": value.mode, "tls": value.tls, "proxy_protocol": value.proxy_protocol}
        if constraint.plain and (value.tls or value.proxy_protocol):
            raise InvalidError("asks for TLS or the PROXY protocol, which are not spoken there", expected="neither")
        mode = value.mode
        address: object = listen_name(value)
    elif isinstance(value, Mapping):
        written = value
        for key in written:
            if key not in constraint.keys:
                meant = nearest(key, constraint.keys)
                raise InvalidError(
                    f"{shown(key)} is not a key of this table", expected=choice(constraint.keys), meant=meant
                )
        if "address" not in written:
            raise InvalidError("has no address", expected=constraint.expected)
        address = written["address"]
        mode = None if written.get("mode") is None else _mode(constraint, written["mode"])
    else:
        return _listen(constraint, value, context)
    found = _listen(constraint, address, context)
    if mode is not None and not found.path:
        raise InvalidError("mode is for Unix sockets", expected='"unix:PATH" beside it')
    proxied = written.get("proxy_protocol", False)
    if not isinstance(proxied, bool):
        raise InvalidError(f"proxy_protocol is {shown(proxied)}", expected="true or false")
    tls = _tls_name(written.get("tls", ""), context)
    return structs.replace(found, mode=mode, tls=tls, proxy_protocol=proxied)


def _tls_name(value: object, context: Context) -> str:
    """The name of a `[tls.NAME]`, or "" for none."""
    if value == "":
        return ""
    names, expected = context.names.get("tls", ()), "the name of a [tls.NAME]"
    if not isinstance(value, str):
        meant = f"tls = {quoted(names[0])}" if value is True and len(names) == 1 else ""
        raise InvalidError(f"tls is {shown(value)}", expected=expected, meant=meant)
    if value not in names:
        raise InvalidError(f"{quoted(value)} is not {expected}", meant=nearest(value, names))
    return value


def _mode(constraint: ListenAddress, value: object) -> int:
    """Permission bits from octal digits. Only the `Listen` of a Python configuration may have a plain number; in TOML,
    660 and 0o660 would be too easy to confuse."""
    if isinstance(value, str) and _MODE.fullmatch(value):
        return int(value, 8)
    raise InvalidError(f"{shown(value)} is not a mode", expected=constraint.mode)


def _listen(constraint: ListenAddress, value: object, context: Context) -> Listen:
    text = _string(value, constraint.expected, meant=_listen_meant(value, constraint))
    if text.startswith("unix:"):
        return _unix(constraint, text, context)
    match = _HOST_PORT.fullmatch(text)
    if match is None or _is_ip(text):
        what = "is not an address and a port" if ":" in text and not _is_ip(text) else "has no port"
        raise InvalidError(f"{shown(text)} {what}", expected=constraint.expected, meant=_listen_meant(text, constraint))
    address, port = match["host"], int(match["port"])
    if address in ("", "*"):
        meant = _listen_meant(port, constraint)
        raise InvalidError(f"{shown(text)} names no address", expected=constraint.expected, meant=meant)
    if address == "localhost":
        meant = quoted(f"127.0.0.1:{port}")
        raise InvalidError(f"{shown(text)} may be more than one address", expected=constraint.expected, meant=meant)
    found = canonical_host(address)
    bare = ":" in address and not address.startswith("[")
    if found is None or bare or not _is_ip(found.strip("[]")):
        meant = quoted(f"[{address}]:{port}") if bare and _is_ip(address) else _listen_meant(text, constraint)
        raise InvalidError(f"{shown(text)} is not an address and a port", expected=constraint.expected, meant=meant)
    if port > 65535:
        raise InvalidError(f"{port} is not a port", expected="a port from 0 to 65535")
    mapped = IPv6Address(found[1:-1]).ipv4_mapped if found.startswith("[") else None
    if mapped is not None:  # the system refuses this address to a socket that takes IPv6 alone, as ours does
        meant = quoted(f"{mapped}:{port}")
        raise InvalidError(
            f"{shown(text)} is an IPv4 address in IPv6 notation", expected=constraint.expected, meant=meant
        )
    return Listen(host=found.strip("[]"), port=port)


def target(constraint: TargetUrl, value: object, context: Context) -> Target:
    """A service's address; the port is the scheme's own when it is left out. The relative path of a Unix socket starts
    at the configuration's folder.

    A name may end in the dot of the root. It is then looked up as it stands, without the search domains of resolv.conf.
    The Host field is sent without that dot. curl and nginx send the dot, but Envoy, and so Istio, compares names as
    text and responds with 404 to a name with a dot.
    """
    if isinstance(value, Target):
        return _checked_target(constraint, value, context)
    text = _string(value, constraint.expected)
    found = None if constraint.plain else _elsewhere(constraint, text, context)
    return _http_target(constraint, text) if found is None else found


def _elsewhere(constraint: TargetUrl, text: str, context: Context) -> Target | None:
    """A target that is no host and port: a Unix socket, or somebody who tells where instances are."""
    if text.startswith("/"):
        raise InvalidError(f"{shown(text)} is not a URL", expected=constraint.expected, meant=quoted(f"unix:{text}"))
    if text.startswith("unix:"):
        return _unix_target(constraint, text, context)
    sourced = _SOURCED.fullmatch(text)
    return None if sourced is None else _SOURCES[sourced["source"].lower()](sourced["scheme"].lower(), sourced["rest"])


def _http_target(constraint: TargetUrl, text: str) -> Target:
    match = _URL.fullmatch(text)
    if match is None:
        authority = _authority_meant(text)
        meant = quoted(f"http://{text if text.isascii() else _written(authority)}") if authority else ""
        # A value with "@" may hold a password and is not repeated.
        what = "a value with user information" if "@" in text else shown(text)
        raise InvalidError(f"{what} is not a URL", expected=constraint.expected, meant=meant)
    if "@" in match["authority"]:
        raise InvalidError("has user information", expected=constraint.expected)
    scheme = match["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise InvalidError(f"{quoted(match['scheme'])} is not a scheme for targets", expected=constraint.expected)
    found = _authority(_ROOT_DOT.sub("", match["authority"]))
    has_dot = _ROOT_DOT.search(match["authority"]) is not None
    if found is None or (has_dot and _is_ipv4(found[0])):
        what = _not(match["authority"], "is not a host and a port")
        proposal = _authority_meant(match["authority"])
        meant = quoted(f"{scheme}://{_written(proposal)}") if proposal else ""
        raise InvalidError(f"{quoted(match['authority'])} {what}", expected=constraint.expected, meant=meant)
    if match["rest"] not in ("", "/"):
        rest = match["rest"]
        is_path = bool(_PLAIN_PATH.fullmatch(rest))
        instead = f"; in the route, rewrite = {quoted(rest.rstrip('/'))}" if is_path else ""
        what = f"{quoted(rest)} follows the port"
        raise InvalidError(what, expected=f"{constraint.expected}, a path is a route's{instead}")
    return _target(scheme, found[0], _DEFAULT_PORTS[scheme] if found[1] is None else found[1], has_dot)


def _dns_target(scheme: str, rest: str) -> Target:
    """Each address of a name: "dns+http://NAME:PORT"."""
    expected = f'"dns+{scheme}://NAME:PORT"'
    written = rest.removesuffix("/")
    found = _authority(_ROOT_DOT.sub("", written))
    if found is None:
        raise InvalidError(f"{shown(rest)} {_not(rest, 'is not a name and a port')}", expected=expected)
    if _is_ip(found[0].strip("[]")):
        what = f"{quoted(found[0])} is an address, which needs no look-up"
        raise InvalidError(what, expected=expected, meant=quoted(f"{scheme}://{_written(found)}"))
    port = _DEFAULT_PORTS[scheme] if found[1] is None else found[1]
    return structs.replace(_target(scheme, found[0], port, _ROOT_DOT.search(written) is not None), source="dns")


def _srv_target(scheme: str, rest: str) -> Target:
    """The SRV records of a name: "srv+http://_http._tcp.NAME"."""
    expected = f'"srv+{scheme}://_http._tcp.NAME"'
    name, colon, _ = rest.removesuffix("/").partition(":")
    if colon:
        raise InvalidError(f"{shown(rest)} has a port, which SRV records tell", expected=expected, meant=quoted(name))
    match = _SERVICE.fullmatch(name.lower().removesuffix("."))
    if match is None or canonical_host(match["name"]) is None or canonical_host(match[0]) is None:
        raise InvalidError(f"{shown(rest)} {_not(rest, 'is not the name of SRV records')}", expected=expected)
    dot = "." if name.endswith(".") else ""
    return Target(host=match[0] + dot, port=0, authority=match["name"], scheme=scheme, source="srv")


def _consul_target(scheme: str, rest: str) -> Target:
    """The healthy instances of a service: "consul+http://SERVICE?dc=dc1&tag=v2". A tag may be there more than once:
    instances have all of them."""
    expected = f'"consul+{scheme}://SERVICE", and behind "?" {choice(_CONSUL_QUERY)}'
    service, mark, written = rest.partition("?")
    service = service.removesuffix("/")
    if not re.fullmatch(HOST, service) or canonical_host(service) is None:
        raise InvalidError(f"{shown(service)} is not the name of a service", expected=expected)
    query: list[tuple[str, str]] = []
    for pair in written.split("&") if mark else ():
        name, _, value = pair.partition("=")
        if name not in _CONSUL_QUERY:
            meant = nearest(name, _CONSUL_QUERY)
            raise InvalidError(f"{shown(name)} is nothing that Consul is asked", expected=expected, meant=meant)
        if not _CONSUL_VALUE.fullmatch(value):
            raise InvalidError(f"{shown(value)} is not the value of {name}", expected="letters, digits, . _ ~ - : /")
        if name != "tag" and any(name == other for other, _ in query):
            raise InvalidError(f"{quoted(name)} is there twice", expected="it once")
        query.append((name, value))
    datacenter = next((f".{value}" for name, value in query if name == "dc"), "")
    authority = f"{service}.service{datacenter}.consul".lower()
    return Target(host=service, port=0, authority=authority, scheme=scheme, source="consul", query=tuple(sorted(query)))


_SOURCED = re.compile(r"(?i:(?P<source>dns|srv|consul)\+(?P<scheme>https?)://)(?P<rest>[^#@]*)", re.DOTALL)
_SERVICE = re.compile(r"(?:_[a-z0-9-]{1,62}\._[a-z0-9-]{1,62}\.)?(?P<name>[a-z0-9][a-z0-9._-]*)")
"""Consul's DNS has the SRV records of a service at its plain name, too."""
_CONSUL_QUERY = ("dc", "tag", "ns", "partition")
_CONSUL_VALUE = re.compile(r"[A-Za-z0-9._~:/-]{1,128}")
_SOURCES = {"dns": _dns_target, "srv": _srv_target, "consul": _consul_target}


def nameserver(constraint: Nameserver, value: object, context: Context) -> str:
    """The address of a name server and its port, 53 unless written: "10.0.0.2:53", "[::1]:8600"."""
    text = _string(value, constraint.expected)
    match = _HOST_PORT.fullmatch(text) if not _is_ip(text) else None
    address, port = (text, 53) if match is None else (match["host"], int(match["port"]))
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    is_bracketed = bare != address
    if not _is_ip(bare) or "%" in bare or (":" in bare and match is not None and not is_bracketed):
        what = f"{shown(text)} is not the address of a name server"
        raise InvalidError(what, expected=constraint.expected, meant=_nameserver_meant(text))
    if not 1 <= port <= 65535:
        raise InvalidError(f"{port} is not a port", expected="a port from 1 to 65535")
    found = ip_address(bare)
    return f"[{found}]:{port}" if found.version == 6 else f"{found}:{port}"


def _nameserver_meant(text: str) -> str:
    """The address that was meant by "localhost:8600" or "udp://10.0.0.2", or ""."""
    url = _URL.fullmatch(text)
    plain = (url["authority"] if url else text).replace("localhost", "127.0.0.1")
    host, _, port = plain.partition(":")
    return quoted(plain) if plain != text and _is_ipv4(host) and (not port or port.isdigit()) else ""


def network(constraint: AddressRange, value: object, context: Context) -> Trusted:
    """A network, where a lone address is a network of one; or "unix" for all Unix sockets."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if value == "unix" and constraint.unix:
        return "unix"
    text = _string(value, constraint.expected)
    if text == "*" and not constraint.unix:
        raise InvalidError(
            '"*" would answer everybody', expected=f"the networks of those who ask: {constraint.expected}"
        )
    if text == "*" and constraint.believes:
        raise InvalidError(
            '"*" would believe everybody', expected=f"the networks that the proxies are in, each {constraint.expected}"
        )
    if "%" in text:  # Python accepts `fe80::%eth0`, but no peer's address is ever in it
        raise InvalidError(f"{shown(text)} has a zone", expected=constraint.expected)
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = quoted(str(ip_network(text, strict=False)))
    except ValueError:
        raise InvalidError(f"{shown(text)} is not a network", expected=constraint.expected) from None
    raise InvalidError(f"{shown(text)} has bits beyond the length of its network", meant=meant)


def address(constraint: Address, value: object, context: Context) -> str:
    """An address in its usual form, as a socket reports it; or "unix"."""
    text = _string(value, constraint.expected)
    if text == "unix":
        return text
    try:
        return str(ip_address(text))
    except ValueError:
        raise InvalidError(f"{shown(text)} is not an address", expected=constraint.expected) from None


def origin(constraint: Origin, value: object, context: Context) -> str:
    """An origin, written exactly as browsers send it; or "*"."""
    text = _string(value, constraint.expected)
    if text == "*":
        return text
    if text == "null":
        raise InvalidError('"null" is the origin of every sandboxed page and file', expected=constraint.expected)
    match = _URL.fullmatch(text)
    found = match and _authority(match["authority"])
    if match is None or found is None:
        what = "has a wildcard, which is not built yet" if "*" in text else _not(text, "is not an origin")
        raise InvalidError(f"{shown(text)} {what}", expected=constraint.expected, meant=_origin_meant(text))
    scheme = match["scheme"].lower()
    port = "" if found[1] in (None, _DEFAULT_PORTS.get(scheme)) else f":{found[1]}"
    canonical = f"{scheme}://{found[0]}{port}"
    if text != canonical:
        raise InvalidError(
            f"{shown(text)} is not what browsers send", expected=constraint.expected, meant=quoted(canonical)
        )
    return text


def _listen_meant(value: object, constraint: ListenAddress) -> str:
    """The address that was meant by a port alone, a path alone or a URL, or ""."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 65535:
        # A plain one is for the operator alone, and refused at an address that all can reach.
        return quoted(f"{'127.0.0.1' if constraint.plain else _EVERY_ADDRESS}:{value}")
    text = value if isinstance(value, str) else ""
    if text.isascii() and text.isdigit():
        return _listen_meant(int(text), constraint)
    if text.startswith("/"):
        return quoted(f"unix:{text}")
    url = _URL.fullmatch(text)
    found = _authority(url["authority"]) if url and url["rest"] in ("", "/") else None
    return quoted(f"{found[0]}:{found[1]}") if found and found[1] and _is_ip(found[0].strip("[]")) else ""


def _unix(constraint: ListenAddress, text: str, context: Context) -> Listen:
    written = text.removeprefix("unix:")
    if not written or "\0" in written:
        raise InvalidError(f"{shown(text)} names no socket", expected=constraint.expected)
    if written.startswith("@"):
        # It has no file, so neither a folder nor a mode can say who may connect.
        what = f"{shown(text)} is an abstract socket, to which everybody on this host could connect: not supported"
        raise InvalidError(what, expected='"unix:PATH" of a file')
    path = str(context.folder / written)
    if len(path.encode()) > UNIX_PATH:
        raise InvalidError(f"{shown(path)} is too long for a Unix socket", expected=f"at most {UNIX_PATH} bytes")
    taken = _what_is_at(Path(path))
    if taken:
        raise InvalidError(f"{shown(text)} {taken}", expected="a name that is free, or a socket's")
    return Listen(path=path)


def _what_is_at(path: Path) -> str:
    """What stands in the way of a socket of that name, or "". Another socket does not: it may be ours, or a
    leftover."""
    try:
        for folder in path.parents:
            if folder.exists():
                if not folder.is_dir():
                    return f"cannot be made: {quoted(str(folder), UNIX_PATH)} is not a folder"
                break
        if path.is_dir():
            return "is a folder"
        if path.is_symlink() and not path.exists():
            return "is a link that leads nowhere"
        return "is a file" if path.exists() and not path.is_socket() else ""
    except OSError:  # we may not look into a folder, but the user who runs the gateway may be allowed to
        return ""


def _checked_target(constraint: TargetUrl, value: Target, context: Context) -> Target:
    """The `Target` of a Python configuration, checked. Its authority may differ from its host and port."""
    if value.scheme not in _DEFAULT_PORTS or (value.path and value.scheme != "http"):
        raise InvalidError(f"{shown(value.scheme)} is not its scheme", expected=constraint.expected)
    if constraint.plain and (value.path or value.source):
        raise InvalidError("is no address", expected=constraint.expected)
    if value.source:
        return target(constraint, value.url, context)
    if value.path and _AUTHORITY.fullmatch(str(value.authority)):
        return value
    bracketed = f"[{value.host}]" if ":" in str(value.host) else str(value.host)
    found = _authority(f"{bracketed.removesuffix('.')}:{value.port}")
    if found is None or found[1] is None or not _AUTHORITY.fullmatch(str(value.authority)):
        raise InvalidError("is not a host, a port and an authority", expected=constraint.expected)
    dot = "." if bracketed.endswith(".") else ""
    return structs.replace(value, host=found[0].strip("[]") + dot, port=found[1])


def _target(scheme: str, found: str, port: int, has_dot: bool) -> Target:
    dot = "." if has_dot else ""
    authority = found if port == _DEFAULT_PORTS[scheme] else f"{found}:{port}"
    return Target(host=found.strip("[]") + dot, port=port, authority=authority, scheme=scheme)


def _unix_target(constraint: TargetUrl, text: str, context: Context) -> Target:
    """The socket need not be there yet: its service may start later."""
    written = text.removeprefix("unix:")
    if not written or "\0" in written or written.startswith("@"):
        raise InvalidError(f"{shown(text)} names no socket", expected=constraint.expected)
    path = str(context.folder / written)
    if len(path.encode()) > UNIX_PATH:
        raise InvalidError(f"{shown(path)} is too long for a Unix socket", expected=f"at most {UNIX_PATH} bytes")
    return Target(host="", port=0, authority="localhost", path=path)


def _written(found: tuple[str, int | None]) -> str:
    return found[0] if found[1] is None else f"{found[0]}:{found[1]}"


def _authority(text: str) -> tuple[str, int | None] | None:
    """Host and port of an authority, or None when it is none. The port is None when it is left out."""
    match = _AUTHORITY.fullmatch(text)
    found = match and canonical_host(match["host"])
    if match is None or not found:
        return None
    port = None if match["port"] is None else int(match["port"])
    return None if port is not None and not 1 <= port <= 65535 else (found, port)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _string(value: object, expected: str, *, meant: str = "") -> str:
    if not isinstance(value, str):
        raise InvalidError(f"{shown(value)} is not text", expected=expected, meant=meant or one_meant(value))
    return value

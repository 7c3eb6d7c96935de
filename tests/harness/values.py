"""Comparing values of rawgate by their fields. The values themselves are compared by identity (see
`rawgate.message`)."""

from typing import Any

from rawgate.message import Identity


def contents(value: object) -> Any:
    """A rawgate value as a dictionary of its fields, nested values too, also in a tuple; any other value unchanged."""
    if isinstance(value, tuple):
        return tuple([contents(member) for member in value])
    kind = type(value)
    names = vars(kind).get("__slots__") or vars(kind).get("__mypyc_attrs__")
    if not kind.__module__.startswith("rawgate.") or names is None:
        return value
    return {name: contents(getattr(value, name)) for name in names}


class Alike:
    """Equals every value of the same class with equal fields: `assert read(octets) == Alike(RequestHead(…))`."""

    def __init__(self, value: object) -> None:
        self.kind = type(value)
        self.contents = contents(value)

    def __eq__(self, other: object) -> bool:
        return type(other) is self.kind and contents(other) == self.contents

    def __hash__(self) -> int:
        return hash(self.kind)

    def __repr__(self) -> str:
        return f"{self.kind.__name__}{self.contents}"


class Caller:
    """Equal to each identity of this kind and name, until whenever its credential is good."""

    def __init__(self, kind: str, name: str) -> None:
        self.caller = (kind, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and (other.kind, other.name) == self.caller

    def __hash__(self) -> int:
        return hash(self.caller)

    def __repr__(self) -> str:
        return f"Caller{self.caller}"


def run(*lines: bytes) -> bytes:
    """Field lines that stood together, as `passthrough` has them: each with the CRLF before it."""
    return b"".join([b"\r\n" + line for line in lines])

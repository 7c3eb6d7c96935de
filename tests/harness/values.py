"""Comparing values of rawgate by their fields. The values themselves are compared by identity (see
`rawgate.message`)."""

from typing import Any

from rawgate.message import Identity


def contents(value: object) -> Any:
    """A rawgate value as a dictionary of its fields, nested values too; any other value unchanged."""
    kind = type(value)
    if not kind.__module__.startswith("rawgate.") or "__slots__" not in vars(kind):
        return value
    return {name: contents(getattr(value, name)) for name in vars(kind)["__slots__"]}


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

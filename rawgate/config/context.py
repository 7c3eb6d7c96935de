"""What a reader may need to know besides the value."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct


class Context(Struct, frozen=True):
    """The surroundings of one configuration.

    folder         where the file is; relative paths start here
    environ        the environment that secrets are taken from
    plain_numbers  durations and sizes may be numbers (Python configurations)
    merge_slashes  whether the gateway joins slashes that follow one another
    names          kind ("upstreams", "jwt", "api_keys", "routes") → the names that the file gives to things of that
                   kind, sound or not; a kind is left out when it cannot be told
    """

    folder: Path
    environ: Mapping[str, str]
    plain_numbers: bool
    merge_slashes: bool
    names: dict[str, tuple[str, ...]]

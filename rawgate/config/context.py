"""What a reader of values may look at besides the value: the folder, the environment, the names in the file."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from rawgate.config.files import Files


class Context(Struct, frozen=True):
    """What surrounds one configuration.

    folder         where the file is: relative paths start here
    environ        the environment from which secrets are taken
    files          reads the files that are named
    plain_numbers  whether durations and sizes may be plain numbers, as in Python configurations
    merge_slashes  whether the gateway reads repeated slashes as one
    names          kind ("upstreams", "jwt", "api_keys", "tls", "routes") → the names that the file gives to things of
                   that kind, whether they can be read or not. A kind is left out when its names cannot be told
    """

    folder: Path
    environ: Mapping[str, str]
    files: Files
    plain_numbers: bool
    merge_slashes: bool
    names: dict[str, tuple[str, ...]]

"""Asks applications behind the gateway what they see: `tools/witness --help`.

Servers, spellings and the rules for findings are those of the tests, in `tests/witnesses`.

__main__  the command
"""

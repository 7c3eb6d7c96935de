"""TOML or Python → frozen msgspec Structs; the only reader of configuration files and of the environment.

load            the way in: a file → `Draft`, which words the report
files           reads files, each once
processors      how many processors there are for `workers = "auto"`
program         a Python configuration: run it, and find its lines
lines           a TOML document: find its lines
convert         one walk over the model's annotations, for both
model           what comes out: the Structs
constraints     what may be written for a key, as data beside its field; nothing here reads
units, addresses, grammar, limits, sources, key_sets, stores, targets
                a reader for each kind of constraint; `context` is what a reader may look at besides the value
rules           what must hold between the keys of one table
habits          what people write who come from other products, and what it is here
suspicious      what can be served but rarely means what it says: warnings
reserved_names  fields and methods that are not free to configure
invalid         how a value is refused, and the wording of messages
schema          the model again, as JSON Schema for editors
samples         configurations that come with rawgate
command_line    a command's arguments in the same notations
"""

"""`rawgate explain`: what the gateway would do with one request, and why, as a value.

    explanation     `explain`: one request, decided and explained
    watch           the gate's own decision; each step records its arguments and its result
    model           the explanation as a value: a promise to programs (`--json`)
    paths           the ways in which services may read the path, and the rule that rewrote it
    routes          why each route was selected or not
    authentication  each step of verifying a credential
    fields          which fields travel, which do not, and which values may be shown

The gate decides. The modules here put what its steps found into words, and add facts beside them.
"""

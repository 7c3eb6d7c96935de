"""`rawgate explain`: what the gateway would do with one request, and why, as a value.

    watch           the gate's own decision, each step noting what it was given and what it found
    model           the value: a promise to programs (`--json`)
    paths           the path as services may read it, and the rule that rewrote it
    routes          why each route was selected or lost
    authentication  step by step through a credential
    fields          what becomes of the fields; what may be shown of them
    explanation     everything together: `explain`

The decision is the gate's. What is added are words for what its steps found, and facts to put beside them.
"""

"""What to do with a request: decided from its head, without I/O, in one call.

    gate        the steps, and their order: `decide`
    compile     makes a gate of a configuration, at load
    paths       one reading of a path: normalised, or refused
    router      host, prefix, method → route
    addresses   the client's address behind trusted proxies
    cors        preflights, and what a browser may read
    jwt, jwks   bearer tokens and where their keys come from
    api_keys    shared secrets
    limiter     a sliding window per route and client
    rewrite     the path that the upstream sees
    patterns    which regular expressions a rewrite may use: those that cannot run away
    headers     the fields that travel, both ways
    signing     tokens for tests of a gateway; nothing that serves imports it

They do not import one another; only `gate` and `compile` import them. Time and random octets are handed in. The only
door to `cryptography`.
"""

"""What to do with a request: decided from its head, without I/O, in one call.

    gate        the steps, and their order: `decide`
    request     what a request is to them
    more        the steps that only some routes have
    compile     makes a gate of a configuration, at load
    compile_limits  its part for limits
    paths       one reading of a path: normalised, or refused
    router      host, path, method → route
    matching    what a route asks for besides: fields, parameters of the query, the scheme
    addresses   the client's address behind trusted proxies
    cors        preflights, and what a browser may read
    jwt         bearer tokens: which key, which signature, which claims
    algorithms  the signature algorithms: which key fits which, and how a signature is checked
    jwks        documents of key sets, as identity providers publish them
    key_material  secrets and PEM texts, as people hand them over
    fetched_keys  keys that come from elsewhere: when they are asked for, and the requests that wait for them
    verifiers   makes a verifier of tokens from these four
    api_keys    shared secrets in a header field
    places      where else a credential may be: a cookie, the query, the protocols of a WebSocket
    credentials  how a route authenticates: by token, by key, by the first of several
    auth_failures  how often an address may send a wrong credential
    claims      what a credential says of its caller, and what a route asks of it
    limits      the limit of a route that has one alone, and what clients are told of it
    limiter     a sliding window per route and client
    shared_limiter  the same, counted by several processes together
    budgets     several limits on a route, other keys than the client
    in_flight   the requests of a client that are under way
    over_hosts  limits that count in a store: what becomes of a request before, while and after it is asked
    store       what is asked of it, and the slots that it has lent
    store_scripts  the window of `limiter` as scripts that it runs
    rewrite     the path that the upstream sees
    patterns    which regular expressions a rewrite may use: those that cannot run away
    headers     the fields that travel, both ways
    trace_context  traceparent and tracestate, where the gateway begins traces
    certificates  what TLS shows and believes: checked before it is served
    values      texts with names in braces, made of a request
    signing     tokens for tests of a gateway; nothing that serves imports it

Only those that compose import other modules: `verifiers`, `credentials`, `limits`, `over_hosts` and `more` the parts
that each is made of, `gate` those steps, `compile` and `compile_limits` what they compile; `request` the values that it
holds; and `shared_limiter` and `store_scripts` the arithmetic of `limiter`. Time and random octets are arguments. No
other room imports `cryptography`.
"""

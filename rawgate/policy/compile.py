"""From a configuration to a `Gate`. All that can be computed at load is computed here: closures, octets, tables.

Each module of this room compiles its own part. This one reads the configuration, gives each module its share, and
appends a Problem for each fault.
"""

import re
from collections.abc import Callable, Collection, Iterator

from rawgate.config.invalid import choice, nearest, problem_text, quoted
from rawgate.config.model import (
    ApiKeys,
    Config,
    HashBalance,
    HeaderRules,
    KeySetUrl,
    RegexRewrite,
    Route,
    Target,
    Upstream,
    rates_of,
    route_names,
)
from rawgate.config.units import size_text
from rawgate.errors import Key, Problem
from rawgate.message import READ_AS, TRACEPARENT, Down, RequestHead, RouteOptions
from rawgate.policy import cors, headers, paths
from rawgate.policy.addresses import compile_addresses, compile_admits
from rawgate.policy.api_keys import ApiKeyTable, compile_table
from rawgate.policy.claims import CERTIFICATE, compile_require, compile_tell, roots
from rawgate.policy.compile_limits import (
    claims_counted,
    compile_auth_failures,
    compile_limit,
    compile_limiters,
    compile_other_limits,
    fields_counted,
    tells,
)
from rawgate.policy.credentials import Credential, api_key, bearer, first_of
from rawgate.policy.fetched_keys import FetchedKeys
from rawgate.policy.gate import CompiledRoute, Gate, compose
from rawgate.policy.in_flight import InFlight
from rawgate.policy.limits import Limiters, Watch
from rawgate.policy.matching import compile_match
from rawgate.policy.matching import names as matched_names
from rawgate.policy.more import Affinity, Local, More, compile_affinity
from rawgate.policy.patterns import compile_pattern, matches_below
from rawgate.policy.places import PROTOCOLS, Place, compile_place, compile_strip
from rawgate.policy.rewrite import (
    Capture,
    Rewrite,
    compile_capture,
    compile_fill,
    compile_function,
    compile_regex,
    compile_swap,
    unknown_names,
)
from rawgate.policy.router import Entry, Template, compile_router
from rawgate.policy.trace_context import TRACE_NAMES, Trace, compile_trace
from rawgate.policy.values import (
    CLAIM,
    NAMES,
    Value,
    asks_for_caller,
    compile_lines,
    compile_value,
    names_in,
    unknown_name,
    verified_by,
)

Report = Callable[[str, str], None]
"""`(subject, one line of text)`. The receiver may leave out lines when one subject has too many."""


def ignore(about: str, text: str) -> None:
    """A `Report` that drops its lines, for gates that only explain: there the decision itself shows the fault."""


def _too_large(route: Route, limit: int) -> str:
    key = "`limits.body` of the gateway" if route.body is None else "`body` of the route"
    return f"The request body is larger than {size_text(limit)}, which {key} sets."


def _written_by_cors(route: Route) -> frozenset[bytes]:
    """The names of the fields that `cors` writes on the route."""
    return frozenset() if route.cors is None else cors.RESPONSE_FIELDS


def _for_route(report: Report, name: str) -> Callable[[str], None]:
    about = f"route {name}"
    return lambda text: report(about, f"{about}: {text}")


def _places_of(spec: ApiKeys) -> tuple[Place, ...]:
    """Where an API key may be besides its field."""
    return () if spec.query is None else (compile_place(f"query:{spec.query}"),)


def _constant(rules: HeaderRules) -> HeaderRules:
    """The same rules without the values that are made of a request. Fields that they would set are removed, whoever
    sent them."""
    made = tuple(name for name, text in rules.set.items() if names_in(text))
    return HeaderRules(
        set={name: text for name, text in rules.set.items() if name not in made},
        add={name: text for name, text in rules.add.items() if not names_in(text)},
        remove=(*rules.remove, *made),
    )


def _fields_hashed(config: Config) -> frozenset[bytes]:
    """The fields that upstreams divide requests by."""
    keys = [spec.balance.hash for spec in config.upstreams.values() if isinstance(spec.balance, HashBalance)]
    return frozenset(key.removeprefix("header:").encode() for key in keys if key.startswith("header:"))


def _claims(config: Config) -> tuple[str, ...]:
    """The names of the claims at the top of a token that some route looks at."""
    asked = [name for route in config.routes for name in route.require if name != CERTIFICATE]
    asked += [
        name.removeprefix(CLAIM)
        for route in config.routes
        for rules in (route.request_headers, route.response_headers)
        for text in (*rules.set.values(), *rules.add.values())
        for name in names_in(text)
        if name.startswith(CLAIM)
    ]
    asked += claims_counted(config)
    return tuple(sorted({root for name in asked for root in roots(name)}))


_NO_UPSTREAM = Upstream(targets=(Target(host="upstream.invalid", port=80, authority="upstream.invalid"),))
"""Of a route that replies itself (RFC 6761 section 6.4)."""


class _Where:
    """Where a route is: its prefix, or its template with the names in it."""

    __slots__ = ("capture", "names", "prefix", "template")

    def __init__(
        self,
        prefix: bytes,
        template: Template | None = None,
        names: tuple[str, ...] = (),
        capture: Capture | None = None,
    ) -> None:
        self.prefix = prefix
        self.template = template
        self.names = names
        self.capture = capture


_HOLE = re.compile(r"\{([a-z0-9_]+)(\*?)\}")


def _traced(up: headers.Up, trace: Trace, counts: bool) -> headers.Up:
    """The way up of a route on which each request belongs to a trace. counts: so does an untrusted sender's."""

    def traced(
        head: RequestHead,
        path: bytes,
        query: bytes,
        peer: bytes,
        scheme: str,
        trusted: bool,
        request_id: bytes,
        user: bytes,
    ) -> bytes:
        parsed = trace(head.parsed, counts or trusted)
        head = head if parsed is head.parsed else head.with_parsed(parsed)
        return up(head, path, query, peer, scheme, trusted, request_id, user)

    return traced


class _Compiler:
    """The values that the routes of one configuration share while they are compiled."""

    def __init__(
        self,
        config: Config,
        new_id: Callable[[], str],
        date: Callable[[], bytes],
        report: Report,
        problems: list[Problem],
        warnings: list[Problem],
        limiters: Limiters | None,
        watch: Watch | None,
    ) -> None:
        self.config = config
        self.names = route_names(config.routes)
        self.watch = watch
        self.date = date
        self.report = report
        self.problems = problems
        self.warnings = warnings
        gateway = config.gateway
        self.normalise = paths.compile_normaliser(gateway.merge_slashes)
        self.limiters = compile_limiters(gateway.limits.limiter_keys, report) if limiters is None else limiters
        self.failures = compile_auth_failures(config, self.limiters, watch)
        self.claims = _claims(config)
        self.credentials: dict[str, Credential] = {}
        self._compile_credentials()
        self.ip_header = (gateway.client_ip_header or "").lower().encode()
        keys = frozenset(spec.header.lower().encode() for spec in config.api_keys.values())
        speaks_cors = any(route.cors for route in config.routes)
        ip_headers = {self.ip_header} - {b""}
        self.untrusted = headers.compile_untrusted(gateway.untrusted_headers)
        self.by_method = frozenset((route.host, route.place) for route in config.routes if route.methods is not None)
        matched = frozenset[bytes]().union(*(matched_names(route.match) for route in config.routes))
        self.protected = headers.GATEWAY_FIELDS | {b"authorization"} | keys | ip_headers | self.untrusted.names
        asked = matched | fields_counted(config) | _fields_hashed(config)
        # The service does not see them either.
        self.doubtful = frozenset(name for name in asked if self.untrusted.holds(name.translate(READ_AS))) | (
            asked & ip_headers
        )
        self.wanted = headers.REQUEST_NAMES | keys | ip_headers | asked
        self.wanted |= cors.REQUEST_FIELDS if speaks_cors else frozenset()
        self.trace = compile_trace(new_id) if gateway.trace == "make" else None
        self.wanted |= frozenset() if self.trace is None else TRACE_NAMES
        self.response_wanted = (
            headers.RESPONSE_NAMES
            | (headers.LOCATION_NAMES if any(route.rewrite_location for route in config.routes) else frozenset())
            | (headers.LIMIT_NAMES if any(tells(config, route) for route in config.routes) else frozenset())
            | (cors.RESPONSE_FIELDS if speaks_cors else frozenset())
        )
        self.removable = (
            self.untrusted.with_overrides().removable
            | headers.removable_names(route.request_headers for route in config.routes)
            | {place.field for credential in self.credentials.values() for place in credential.places if place.field}
        )  # fmt: skip
        self.methods = frozenset(method.encode() for route in config.routes for method in route.methods or ())
        self.response_removable = headers.removable_names(route.response_headers for route in config.routes)
        if any(place.field == PROTOCOLS for credential in self.credentials.values() for place in credential.places):
            self.response_removable |= headers.ANSWERED

    def _compile_credentials(self) -> None:
        """Compile all verifiers and tables, also those that no route uses, so that one run reports all faults."""
        for name, jwt in self.config.jwt.items():
            # Imported for tokens only: it brings cryptography, which takes a tenth of a start.
            from rawgate.policy.verifiers import compile_verifier

            verifier = compile_verifier(name, jwt, self.problems, self.warnings, self.claims)
            if verifier is not None:
                full = f"jwt.{name}"
                fetched = FetchedKeys() if isinstance(jwt.jwks, KeySetUrl) else None
                places = tuple(map(compile_place, jwt.token))
                self.credentials[full] = bearer(full, verifier, verifier.verify, places, fetched)
        for name, spec in self.config.api_keys.items():
            table = compile_table(name, spec, self.problems, self.warnings)
            if table is not None:
                self.credentials[f"api_keys.{name}"] = api_key(
                    f"api_keys.{name}", table, table.lookup, _places_of(spec)
                )

    def entries(self) -> "list[Entry[CompiledRoute]]":
        """All routes whose prefix or path can be matched."""
        entries = []
        for index, route in enumerate(self.config.routes):
            place = self._template(route, index) if route.path else self._prefixed(route, index)
            plan = self._route(index, route, place)
            if plan is not None and (place.prefix or place.template):
                key, folds = paths.match_key(place.prefix), self._folds(route)
                key = key.lower() if folds else key
                holds = compile_match(route.match)
                entries.append(Entry(index, route, key, plan, folds, place.template, holds))
        return entries

    def _prefixed(self, route: Route, index: int) -> _Where:
        return _Where(self._prefix(route.prefix, ("routes", index, "prefix")))

    def _template(self, route: Route, index: int) -> _Where:
        """A configured path: its segments, and where its names are."""
        if not self._prefix(_HOLE.sub("x", route.path), ("routes", index, "path")):
            return _Where(b"")
        folds = self._folds(route)
        segments: list[bytes | None] = []
        names: list[tuple[int, str]] = []
        rest = ""
        for position, text in enumerate(route.path.split("/")[1:]):
            hole = _HOLE.fullmatch(text)
            if hole is None:
                key = paths.match_key(paths.configured_path(text))
                segments.append(key.lower() if folds else key)
                continue
            names.append((position, hole[1]))
            if hole[2]:
                rest = hole[1]
            else:
                segments.append(None)
        known = tuple(name for _, name in names)
        template = Template(tuple(segments), bool(rest))
        return _Where(b"", template, known, compile_capture(names, rest) if names else None)

    def check_tests(self) -> None:
        """Check the API key names in [[tests]]; they are known only after the keys have been read."""
        tables = [credential.by for credential in self.credentials.values()]
        names = [name for table in tables if isinstance(table, ApiKeyTable) for name in table.names]
        for position, test in enumerate(self.config.tests):
            if test.api_key is not None and test.api_key not in names:
                what = f"{quoted(test.api_key)} is not the name of an API key"
                self._problem(("tests", position, "api_key"), problem_text(what, meant=nearest(test.api_key, names)))

    def _problem(self, where: tuple[Key, ...], message: str) -> None:
        self.problems.append(Problem(where, message))

    def _prefix(self, text: str, where: tuple[Key, ...]) -> bytes:
        """A configured prefix, or b"" and a Problem. It has no parameters, since routes are matched without them."""
        path = self._path(text, where)
        if path and b";" in paths.match_key(path):
            self._problem(where, f"{text!r} has parameters, which are not matched (expected a path without ;)")
            return b""
        return path

    def _path(self, text: str, where: tuple[Key, ...]) -> bytes:
        """A configured path as it is sent, or b"" and a Problem."""
        path = paths.configured_path(text)
        if self.normalise(path).path == path and paths.sendable(path):
            return path
        self._problem(where, f'{text!r} is not a normalised path (expected one like "/api/users")')
        return b""

    def _route(self, index: int, route: Route, place: _Where) -> CompiledRoute | None:
        where: tuple[Key, ...] = ("routes", index)
        name = self.names[index]
        prefix = place.prefix
        upstream = self.config.upstreams.get(route.upstream) if route.upstream else _NO_UPSTREAM
        if upstream is None or not upstream.targets:
            self._problem((*where, "upstream"), f"{route.upstream!r} is not an upstream with targets")
            return None
        if route.rate_limit is not None and not (name.isascii() and name.isprintable()):
            self._problem((*where, "name"), f"{name!r} is told to clients in RateLimit fields (expected visible ASCII)")
        if "h2c" in (protocol.partition("/")[0].lower() for protocol in route.upgrade):
            self._problem((*where, "upgrade"), "h2c cannot be tunnelled: the requests inside would pass unseen")
        policy = None if route.cors is None else cors.compile_cors(route.cors, tells(self.config, route))
        body = self.config.gateway.limits.body if route.body is None else route.body
        swap = (b"", b"")
        if isinstance(route.rewrite, str) and prefix:
            swap = (prefix, paths.configured_path(route.rewrite))
        return CompiledRoute(
            options=RouteOptions(name, route.upstream, route.response_timeout, body, _too_large(route, body)),
            keeps_slash=route.encoded_slash == "keep",
            keeps_parameters=route.path_parameters == "keep",
            own=headers.own_lines(_constant(route.response_headers), _written_by_cors(route)),
            cors=policy,
            credential=self._credential(route, (*where, "auth")),
            limit=compile_limit(self.config, route, name, self.limiters, self.watch),
            rewrite=self._rewrite(route, place, (*where, "rewrite")),
            report=_for_route(self.report, name),
            # All targets get the authority of the first one as Host, as all servers of an nginx upstream get one name:
            # the head is written before a target is chosen, and a retry sends the same head to another target.
            up=self._up(route, upstream.targets[0].authority.encode(), headers.replaced_prefix(*swap)),
            down=self._down(route, upstream, swap),
            trailer=headers.compile_trailer_filter(
                self.wanted | self.protected, route.request_headers, self.untrusted.with_overrides()
            ),
            upgrades=frozenset(protocol.lower().encode() for protocol in route.upgrade),
            more=self._more(index, route, name, place),
            failures=self.failures,
        )

    def _up(self, route: Route, authority: bytes, prefix: bytes) -> headers.Up:
        untrusted = self._untrusted(route)
        up = headers.compile_up(
            authority,
            _constant(route.request_headers),
            pass_host=route.upstream_host == "pass",
            parsed_names=self.wanted,
            withheld=self._withheld(route),
            ip_header=self.ip_header,
            untrusted=untrusted,
            verified_by=route.auth if isinstance(route.auth, str) and route.verifiers else "",
            prefix=prefix,
            replaced=frozenset() if self.trace is None else frozenset((TRACEPARENT,)),
        )
        if self.trace is None:
            return up
        return _traced(up, self.trace, not untrusted.holds(TRACEPARENT.translate(READ_AS)))

    def _more(self, index: int, route: Route, name: str, place: _Where) -> More | None:
        """What only some routes have; None for the others."""
        where: tuple[Key, ...] = ("routes", index)
        self._warn_of_fields(route, where)
        local = self._local(route, place, where)
        admits = compile_admits(route.allow, route.deny)
        require = compile_require(route.require)
        self._check_claims_of_keys(route, (*where, "require"))
        places = tuple(each for name in route.verifiers for each in self._places(name))
        strip = compile_strip(places)
        answers = any(each.field == PROTOCOLS for each in places)
        up = [*self._values(route.request_headers, place, (*where, "request_headers"))]
        if len(route.verifiers) > 1:
            up.append(("X-Auth-By", verified_by))
        down = [*self._values(route.response_headers, place, (*where, "response_headers"))]
        shown = [field for field in down if headers.belongs(field[0], _written_by_cors(route))]
        early = compile_lines([field for field in shown if not asks_for_caller(self._text(route, field[0]))])
        late = compile_lines(
            [field for field in down if asks_for_caller(self._text(route, field[0])) or field not in shown]
        )
        count = compile_other_limits(
            self.config, route, name, self.limiters, self.watch, (*where, "rate_limit"), self.problems
        )
        in_flight = InFlight(name, self.limiters.requests) if route.concurrency else None
        affinity = self._affinity(route)
        steps = (local, admits, require, strip, compile_lines(up), early, late, count, in_flight, affinity)
        if all(step is None for step in steps) and not route.shadow:
            return None
        return More(
            paths.configured_path(route.place),
            place.capture,
            local,
            admits,
            require,
            strip,
            answers,
            compile_lines(up),
            early,
            late,
            count,
            in_flight,
            route.concurrency or 0,
            frozenset(route.shadow),
            affinity,
        )

    def _check_claims_of_keys(self, route: Route, where: tuple[Key, ...]) -> None:
        """What a route asks of claims, against those of the keys that open it. Only a keys file gives them any."""
        asks = compile_require({name: values for name, values in route.require.items() if name != CERTIFICATE})
        for verifier in route.verifiers if asks is not None else ():
            credential = self.credentials.get(verifier)
            table = None if credential is None else credential.by
            if asks is None or not isinstance(table, ApiKeyTable):
                continue
            name = verifier.removeprefix("api_keys.")
            if not self.config.api_keys[name].keys.source.endswith(".toml"):
                what = f"asks for claims, and no key of {verifier} has any: it would refuse all of them"
                expected = f'keys = "file:PATH.toml" in [{verifier}], with claims'
                self._problem(where, problem_text(what, expected=expected))
            elif all(asks(claims, "") for claims in table.claims):
                # The file may have such a key tomorrow, and is read again then.
                what = f"no key of {verifier} has the claims that it asks for: it refuses all of them"
                self.warnings.append(Problem(where, problem_text(what, expected="them in the claims of a key")))

    def _warn_of_fields(self, route: Route, where: tuple[Key, ...]) -> None:
        """Fields by which a request is counted or its route is selected, and which clients choose, or nobody may
        send."""
        limits = rates_of(self.config, route)
        keys = [limit.key for limit in limits if limit is not None]
        counted = [key.removeprefix("header:") for key in keys if key.startswith("header:")]
        for key, names in (("rate_limit", counted), ("match", [name.decode() for name in matched_names(route.match)])):
            for name in names:
                if name.encode() in self.doubtful and not self.config.gateway.trusted_proxies:
                    what = f"{quoted(name)} is believed from trusted_proxies only, and there are none"
                    self.warnings.append(Problem((*where, key), problem_text(what, expected="trusted_proxies")))
                    return
        if counted and len(counted) == len(limits) and counted[0].encode() not in self.doubtful:
            what = f"clients choose what {quoted(counted[0])} says: another value each time, and the limit never acts"
            expected = 'a second limit, such as one with key = "ip", or the name in gateway.untrusted_headers'
            self.warnings.append(Problem((*where, "rate_limit"), problem_text(what, expected=expected)))

    def _affinity(self, route: Route) -> Affinity | None:
        """What the route's upstream divides requests by, if it does so by hash."""
        spec = self.config.upstreams.get(route.upstream)
        if spec is None or not isinstance(spec.balance, HashBalance):
            return None
        return compile_affinity(spec.balance.hash)

    def _values(self, rules: HeaderRules, place: _Where, where: tuple[Key, ...]) -> Iterator[tuple[str, Value]]:
        """The fields whose values are made of the request."""
        for part, fields in (("set", rules.set), ("add", rules.add)):
            for name, text in fields.items():
                unknown = unknown_name(text, place.names, NAMES)
                if unknown:
                    known = [one if one != CLAIM else "claim.NAME" for one in (*NAMES, *place.names)]
                    self._unknown_name((*where, part, name), unknown, known)
                elif names_in(text):
                    yield name, compile_value(text, place.names, compile_tell)

    @staticmethod
    def _text(route: Route, name: str) -> str:
        """What the configuration has for a response field."""
        rules = route.response_headers
        return rules.set.get(name) or rules.add.get(name) or ""

    def _places(self, verifier: str) -> tuple[Place, ...]:
        credential = self.credentials.get(verifier)
        return () if credential is None else credential.places

    def _local(self, route: Route, place: _Where, where: tuple[Key, ...]) -> Local | None:
        """The reply of a route without upstream."""
        fields = headers.content_lines(route.response_headers)
        if route.respond is not None:
            spec = route.respond
            return Local(spec.status, spec.body.encode(), spec.type.encode(), fields, None, keeps_query=False)
        if route.redirect is None:
            return None
        to = route.redirect.to
        unknown = unknown_name(to, place.names, ("host", "path"))
        if unknown:
            self._unknown_name((*where, "redirect", "to"), unknown, ("host", "path", *place.names))
            return None
        return Local(
            route.redirect.status,
            b"",
            b"",
            fields,
            compile_value(to, place.names, compile_tell),
            keeps_query="?" not in to,
        )

    def _unknown_name(self, where: tuple[Key, ...], name: str, known: Collection[str]) -> None:
        what = f"{quoted('{' + name + '}')} is not the name of anything here"
        names = choice("{" + one + "}" for one in known) if known else "the text as it is"
        self._problem(where, problem_text(what, expected=names))

    def _credential(self, route: Route, where: tuple[Key, ...]) -> Credential | None:
        tables: dict[str, Collection[str]] = {"jwt": self.config.jwt, "api_keys": self.config.api_keys}
        parts: list[Credential] = []
        for verifier in route.verifiers:
            kind, _, name = verifier.partition(".")
            if name not in tables.get(kind, ()):
                self._problem(where, f'{verifier!r} names no verifier (expected "jwt.NAME", "api_keys.NAME" or "none")')
            credential = self.credentials.get(verifier)
            if credential is None:
                continue
            before = next((part.name for part in parts if self._fields_of(credential) <= self._fields_of(part)), "")
            if before:
                what = f"{quoted(verifier)} is never asked: {before} takes the credential from the same place"
                self._problem(where, problem_text(what, expected="another order, place or header"))
            parts.append(credential)
        if len(parts) > 1:
            return first_of(tuple(parts))
        return parts[0] if parts else None

    def _fields_of(self, credential: Credential) -> frozenset[str]:
        """Where a credential is looked for, as the configuration says it."""
        kind, _, name = credential.name.partition(".")
        if kind == "jwt":
            return frozenset(self.config.jwt[name].token)
        spec = self.config.api_keys[name]
        return frozenset((f"header:{spec.header}", *([] if spec.query is None else [f"query:{spec.query}"])))

    def _folds(self, route: Route) -> bool:
        """Whether the route ignores the case of letters."""
        return (route.case or self.config.gateway.case) == "ignore"

    def _untrusted(self, route: Route) -> headers.Untrusted:
        """The fields that are accepted from trusted proxies only. Where the method selects the route, those that
        override the method are among them."""
        by_method = (route.host, route.place) in self.by_method
        return self.untrusted.with_overrides() if by_method else self.untrusted

    def _withheld(self, route: Route) -> frozenset[bytes]:
        """The names of the fields with the credentials that the route does not forward."""
        names = set()
        for verifier in route.verifiers:
            kind, _, name = verifier.partition(".")
            forwards = kind == "jwt" if route.forward_credentials is None else route.forward_credentials
            if not forwards:
                spec = self.config.api_keys.get(name) if kind == "api_keys" else None
                names.add(spec.header.lower().encode() if spec is not None else b"authorization")
        return frozenset(names)

    def _rewrite(self, route: Route, place: _Where, where: tuple[Key, ...]) -> Rewrite | None:
        prefix = place.prefix
        if route.rewrite is None:
            return None
        if isinstance(route.rewrite, str) and route.path:
            if not self._path(_HOLE.sub("x", route.rewrite), where):
                return None
            for name in unknown_names(route.rewrite, place.names):
                self._unknown_name(where, name, place.names)
            text = paths.configured_path(route.rewrite).decode()
            return compile_fill(text, place.capture or compile_capture((), ""), paths.sendable)
        if isinstance(route.rewrite, str):
            replacement = self._path(route.rewrite, where)
            return compile_swap(paths.match_key(prefix), replacement) if replacement else None
        if isinstance(route.rewrite, RegexRewrite):
            pattern = compile_pattern(
                route.rewrite.pattern, (*where, "pattern"), self.problems, folds=self._folds(route)
            )
            if pattern is None:
                return None
            if prefix:
                self._warn_of_pattern(route, prefix, (*where, "pattern"))
            return compile_regex(pattern, route.rewrite.to, (*where, "to"), paths.sendable, self.problems)
        return compile_function(route.rewrite, paths.sendable)

    def _warn_of_pattern(self, route: Route, prefix: bytes, where: tuple[Key, ...]) -> None:
        """A pattern that changes no path at all, because none of those that it matches comes to the route."""
        assert isinstance(route.rewrite, RegexRewrite)  # noqa: S101 - for the type checker
        text, flags = route.rewrite.pattern, re.IGNORECASE if self._folds(route) else re.NOFLAG
        key = paths.match_key(prefix).decode("utf-8", "surrogateescape")
        gone = (
            {";": "parameters", "//": "repeated slashes"} if self.config.gateway.merge_slashes else {";": "parameters"}
        )
        if not matches_below(text, key, flags):
            what = f"{quoted(text)} matches no path of this route"
            self.warnings.append(
                Problem(where, problem_text(what, expected=f"one for paths that begin with {quoted(key)}"))
            )
        elif not matches_below(text, key, flags, gone=gone):
            what = f"{quoted(text)} matches no path: it is matched on paths without {' and '.join(gone.values())}"
            self.warnings.append(Problem(where, problem_text(what, expected="none in it")))

    def _down(self, route: Route, upstream: Upstream, swap: tuple[bytes, bytes]) -> Down:
        removed = headers.RESPONSE_NAMES - {b"date"}
        if tells(self.config, route):
            removed |= headers.LIMIT_NAMES
        if route.cors is not None:
            removed |= cors.RESPONSE_FIELDS
        turn_back = None
        if route.rewrite_location:
            turn_back = headers.compile_turn_back(
                ((target.scheme, target.authority) for target in upstream.targets), *swap
            )
        down = headers.compile_down(
            removed,
            self.response_wanted,
            _constant(route.response_headers),
            self.date,
            turn_back,
            _written_by_cors(route),
        )
        answers = any(each.field == PROTOCOLS for name in route.verifiers for each in self._places(name))
        return headers.compile_answered(down) if answers else down


def compile_gate(
    config: Config,
    *,
    new_id: Callable[[], str],
    date: Callable[[], bytes],
    problems: list[Problem],
    warnings: list[Problem],
    report: Report = ignore,
    limiters: Limiters | None = None,
    watch: Watch | None = None,
) -> Gate | None:
    """The gate of a configuration, or None if it has faults. All faults are appended to `problems`; settings that
    probably do not mean what they say are appended to `warnings`.

    new_id  → 32 hexadecimal digits of 128 random bits: a request's id, or a trace's
    date    → the time of day as an IMF-fixdate (RFC 9110 section 5.6.7)
    report  takes a line of text when the pattern or the function of a route fails while requests are served, and when
            limits have to forget live counters
    limiters  the counters to go on with: those of the gate that this one follows, or that it shares with others. Their
            capacity stays, whatever `limits.limiter_keys` says. None: counters of its own
    watch   → what is told of each decision of the limit of that name. None: nobody is
    """
    found = len(problems)
    compiler = _Compiler(config, new_id, date, report, problems, warnings, limiters, watch)
    router = compile_router(compiler.entries(), problems)
    # Only if there is no other fault: a table that could not be read may hold the name.
    if not problems:
        compiler.check_tests()
    if len(problems) > found:
        return None
    peer_of, client_of = compile_addresses(config.gateway.trusted_proxies, config.gateway.client_ip_header)
    return Gate(
        decide=compose(peer_of, client_of, compiler.normalise, router.find, new_id, router.choose, compiler.doubtful),
        wanted=compiler.wanted,
        protected=compiler.protected,
        removable=compiler.removable,
        methods=compiler.methods,
        response_wanted=compiler.response_wanted,
        response_removable=compiler.response_removable,
        limiters=compiler.limiters,
        credentials=compiler.credentials,
        peer_of=peer_of,
        client_of=client_of,
        normalise=compiler.normalise,
        router=router,
        doubtful=compiler.doubtful,
    )

"""What people write who know other products (nginx, Kong, Traefik, Envoy, Caddy, APISIX, Express), and what rawgate
has.

An unknown key is looked up three times: among the habits of its table, among the keys of its table in other letters,
and among the keys of all other tables. When none of these knows it, nothing is proposed: a wrong proposal costs more
time than none.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from rawgate.config.addresses import HOST
from rawgate.config.invalid import plain, problem_text, quoted
from rawgate.config.model import (
    ApiKeys,
    Breaker,
    Certificate,
    Config,
    Cors,
    Eject,
    Gateway,
    HeaderRules,
    HealthCheck,
    Jwt,
    Limits,
    RateLimit,
    RegexRewrite,
    Retry,
    Route,
    Store,
    Test,
    Timeouts,
    Tls,
    Upstream,
    UpstreamTls,
)

_NO_KEY: Final = "is not a key of this table"


class Habit(Struct, frozen=True):
    """What a message says about a key: `what` is wrong, what is `expected` instead, what was `meant`."""

    what: str = _NO_KEY
    expected: str = ""
    meant: str = ""

    @property
    def message(self) -> str:
        return problem_text(self.what, expected=self.expected, meant=self.meant)


def _keys(habit: Habit, names: str) -> dict[str, Habit]:
    return dict.fromkeys(map(plain, names.split()), habit)


def _for(key: str, names: str) -> dict[str, Habit]:
    """Other names of `key`, a key of the same table."""
    return _keys(Habit(meant=quoted(key)), names)


def _written(text: str, names: str) -> dict[str, Habit]:
    """Names for what `text` says here."""
    return _keys(Habit(meant=text), names)


def _instead(text: str, names: str) -> dict[str, Habit]:
    """Names for what is configured at another place, or not at all; `text` says where."""
    return _keys(Habit(expected=text), names)


def _unbuilt(what: str, names: str) -> dict[str, Habit]:
    return _keys(Habit(what=f"{what} not built yet"), names)


_TLS = "tls ssl https certificate certificates cert certs ssl_certificate ssl_certificate_key tls_cert ssl_verify"
_TLS_IN = _instead('[tls.NAME], and { address = "…", tls = "NAME" } in gateway.listen', _TLS)

_LINES = "nothing: each request is a line on stdout, and messages go to stderr"

_RESPONSE_TIMEOUT = (
    "timeout timeouts read_timeout proxy_read_timeout request_timeout proxy_timeout response_header_timeout"
)

_HABITS: dict[type[Struct], dict[str, Habit]] = {
    Config: _for("upstreams", "services service backends backend clusters servers upstream")
    | _for("routes", "route locations location routers")
    | _written('targets = ["consul+http://SERVICE"] of an upstream', "consul_catalog consulcatalog discovery registry")
    | _written('resolver = ["127.0.0.1:8600"] in [gateway]', "resolver resolvers nameserver nameservers dns")
    | _for("jwt", "jwts jwt_auth authentication auth")
    | _for("api_keys", "apikeys key_auth consumers")
    | _instead('listen = ["127.0.0.1:8080"] in [gateway]', "port host address bind entrypoints listeners http server")
    | _instead("[gateway.timeouts]", "timeout timeouts")
    | _instead("[gateway.limits]", "limits")
    | _instead("rate_limit = { … } in each of [[routes]]", "rate_limit rate_limits rate_limiting")
    | _instead("cors = { … } in each of [[routes]]", "cors")
    | _unbuilt("middlewares and plugins are", "middlewares middleware plugins filters")
    | _instead("[gateway.log]", "log logs logging")
    | _instead(_LINES, "access_log accesslog log_level error_log")
    | _instead('admin = "127.0.0.1:9901" in [gateway]', "metrics prometheus admin health status")
    | _TLS_IN,
    Gateway: _written('listen = ["127.0.0.1:8080"]', "port host address bind addr hostname listen_address")
    | _for("workers", "worker_processes processes threads")
    | _for("trusted_proxies", "trust_proxy trusted_ips set_real_ip_from proxies forwarded_allow_ips")
    | _written('admin = "127.0.0.1:9901"', "metrics prometheus health status admin_listen stats")
    | _for("resolver", "resolvers nameserver nameservers dns dns_resolver dns_resolvers dns_servers")
    | _for("client_ip_header", "real_ip_header ip_header client_ip_headers")
    | _instead("[gateway.limits] body", "client_max_body_size max_body_size body_limit max_body")
    | _instead("[gateway.limits] head", "large_client_header_buffers max_header_size")
    | _instead("[gateway.limits] connections", "max_connections worker_connections")
    | _instead("[gateway.timeouts] keep_alive", "keepalive_timeout keep_alive idle_timeout")
    | _instead("[gateway.timeouts] head", "client_header_timeout read_header_timeout header_timeout")
    | _instead("[gateway.timeouts] body", "client_body_timeout read_timeout body_timeout")
    | _instead("[gateway.timeouts] send", "send_timeout write_timeout")
    | _instead("[gateway.timeouts] drain", "graceful_timeout shutdown_timeout grace_period")
    | _written('case = "ignore"', "case_insensitive ignore_case case_sensitive")
    | _for("log", "logs logging")
    | _instead(_LINES, "access_log accesslog log_level error_log")
    | _TLS_IN,
    Timeouts: _for("head", "header headers client_header_timeout read_header_timeout request")
    | _for("body", "read client_body_timeout read_timeout")
    | _for("send", "write send_timeout write_timeout")
    | _for("keep_alive", "idle keepalive_timeout idle_timeout")
    | _for("drain", "graceful shutdown grace graceful_timeout shutdown_timeout")
    | _instead("connect_timeout of [upstreams.NAME]", "connect connect_timeout proxy_connect_timeout dial_timeout")
    | _instead("response_timeout of [upstreams.NAME]", "response upstream response_timeout proxy_read_timeout backend"),
    Limits: _for("body", "client_max_body_size max_body max_body_size body_size request_body")
    | _for("head", "header header_size max_header_size max_header_bytes headers_size")
    | _for("headers", "max_headers header_count")
    | _for("target", "uri url max_url uri_length")
    | _for("connections", "max_connections worker_connections")
    | _for("per_address", "per_ip per_client conn_per_ip limit_conn")
    | _instead("rate_limit = { … } in each of [[routes]]", "rate rate_limit requests limit_req rps"),
    Jwt: _for("algorithm", "algorithms alg algs signing_algorithm")
    | _for("secret", "key secret_key signing_key hmac_secret jwt_secret shared_secret")
    | _for("public_key", "pem rsa_public_key pubkey public_keys certificate public_pem")
    | _for("jwks", "jwks_file local_jwks jwks_path key_set keys")
    | _for("issuer", "iss issuers")
    | _for("audience", "aud audiences")
    | _for("leeway", "clock_skew clock_tolerance skew clock_skew_seconds lifetime_grace_period tolerance")
    | _written('secret_encoding = "base64"', "secret_is_base64 base64_secret base64")
    | _written("require_exp = false", "ignore_expiration ignore_exp")
    | _written('jwks = "https://…"', "jwks_uri jwks_url jwks_uris remote_jwks")
    | _written('jwks = "discover"', "discovery well_known discover openid_configuration")
    | _for("jwks_ca", "ca ca_file ca_cert jwks_ca_file")
    | _written('token = ["header", "cookie:NAME"]', "cookie cookie_names from_cookies")
    | _written('token = ["query:NAME"]', "uri_param_names from_params query_param")
    | _for("token", "header header_names from_headers token_location places")
    | _instead(
        "require = { … } in each of [[routes]]", "claims claims_to_verify required_claims scopes scope roles require"
    )
    | _instead("forward_credentials in the route", "forward forward_payload_header hide_credentials"),
    ApiKeys: _for("header", "headers header_name key_name key_names name field in_header")
    | _for("keys", "key secret secrets consumers users tokens credentials")
    | _for("query", "query_param query_name key_in_query query_string")
    | _written("forward_credentials in the route", "hide_credentials"),
    Upstream: _for(
        "targets", "target url urls server servers address addresses nodes hosts host endpoints backend dial"
    )
    | _for("connect_timeout", "proxy_connect_timeout dial_timeout connection_timeout connect")
    | _for("response_timeout", _RESPONSE_TIMEOUT)
    | _for("idle_timeout", "stream_idle_timeout send_timeout proxy_send_timeout write_timeout body_timeout")
    | _for("max_connections", "max_conns pool_size connections connection_limit")
    | _for("keep_alive", "keepalive keepalive_timeout keep_alive_timeout idle_conn_timeout")
    | _for("queue", "max_pending_requests queue_size max_queue")
    | _for("tunnel_idle", "websocket_timeout tunnel_timeout ws_timeout")
    | _written('targets = ["consul+http://SERVICE"]', "consul consul_service")
    | _written('targets = ["srv+http://_http._tcp.NAME"]', "srv srv_record")
    | _written('targets = ["dns+http://NAME:PORT"]', "dns resolve discovery service_discovery discovery_type")
    | _written('resolver = ["127.0.0.1:8600"] in [gateway]', "resolver resolvers nameserver nameservers")
    | _instead("a prefix or rewrite of a route", "path")
    | _instead("upstream_host in the route", "preserve_host host_header pass_host pass_host_header")
    | _for("balance", "lb_policy algorithm type load_balancer lb_method lb_algorithm load_balancing balancing policy")
    | _written('targets = [{ url = "…", weight = 2 }]', "weight weights")
    | _written('balance = "least_requests"', "least_conn least_connections leastconn least_time")
    | _written('balance = { hash = "client" }', "ip_hash sticky hash session_affinity affinity sticky_sessions hash_on")
    | _written('targets = [{ url = "…", backup = true }]', "backup backups fallback")
    | _written('targets = [{ url = "…", zone = "…" }]', "zone zones locality localities")
    | _written("retry = { attempts = 2 }", "retries num_retries proxy_next_upstream max_retries retry_policy")
    | _for("health", "health_check health_checks healthcheck checks check active_health httpchk option_httpchk")
    | _for("eject", "outlier_detection passive_health max_fails ejection outlier")
    | _written('eject = { for = "10s" }', "fail_timeout base_ejection_time")
    | _for("slow_start", "slowstart slow_start_config warm_up slow_start_window")
    | _for("breaker", "circuit_breaker circuit_breakers circuitbreaker")
    | _for("tls", "ssl https transport_socket tls_context")
    | _instead("tls = { … }", "certificate certificates cert certs ca ssl_verify proxy_ssl_verify server_name sni"),
    HealthCheck: _for("path", "uri url target endpoint http_path")
    | _for("interval", "inter every period check_interval")
    | _for("rise", "passes healthy_threshold success_threshold successes healthy")
    | _for("fall", "fails unhealthy_threshold failure_threshold failures unhealthy")
    | _for("status", "expect expected_statuses match http_statuses statuses expect_status status_code")
    | _for("host", "hostname authority")
    | _instead("GET, which each check sends", "method http_method")
    | _instead("nothing: a check goes to the target itself", "port"),
    Eject: _for("failures", "max_fails consecutive_5xx consecutive_gateway_failure consecutive fails errors")
    | _for("for", "fail_timeout base_ejection_time duration time seconds")
    | _for("at_most", "max_ejection_percent max percent most")
    | _for("status", "on statuses status_codes http_statuses codes"),
    Route: _for("prefix", "paths uri uris location path_prefix pattern url from mount route rule")
    | _for("upstream", "service backend proxy_pass target to cluster forward_to proxy destination url_to upstream_id")
    | _for("auth", "authentication authenticate authn jwt api_key api_keys plugin_auth verifier credentials security")
    | _for("host", "hosts hostname server_name domain domains hostnames")
    | _for("methods", "method http_methods verbs allowed_methods")
    | _for("name", "id label title")
    | _for("rewrite", "rewrite_path url_rewrite path_rewrite regex_rewrite prefix_rewrite replace_path proxy_rewrite")
    | _for("rate_limit", "rate_limits rate_limiting limit limits ratelimiting limit_req throttle limit_count")
    | _for("body", "client_max_body_size max_body_size body_limit max_body request_size_limiting")
    | _for("response_timeout", _RESPONSE_TIMEOUT)
    | _instead("connect_timeout of [upstreams.NAME]", "connect_timeout proxy_connect_timeout")
    | _instead("idle_timeout of [upstreams.NAME]", "idle_timeout send_timeout proxy_send_timeout")
    | _written('rewrite = "/"', "strip_prefix strip_path strip stripprefix handle_path trim_prefix strip_uri")
    | _written('upstream_host = "pass"', "preserve_host pass_host pass_host_header change_origin host_rewrite")
    | _written('upgrade = ["websocket"]', "websocket websockets enable_websocket ws allow_upgrade upgrades")
    | _written('case = "ignore"', "case_sensitive case_insensitive ignore_case")
    | _written(
        "request_headers = { set = { … } }", "headers set_headers proxy_set_header request_header header add_headers"
    )
    | _written("response_headers = { set = { … } }", "add_header response_header set_response_headers")
    | _written("request_headers = { remove = [ … ] }", "remove_headers hide_headers request_headers_to_remove")
    | _written("cors = { origins = [ … ] }", "cors_origins allowed_origins origins allow_origin origin")
    | _instead("the order in which the routes stand", "priority regex_priority order weight")
    | _instead(
        "nothing: bodies are always streamed", "buffering proxy_buffering request_buffering proxy_request_buffering"
    )
    | _for("respond", "return response status fixed_response direct_response")
    | _written('path = "/…"', "exact exact_path path_template path_regex")
    | _for("allow", "allow_ips ip_restriction ip_allow whitelist ip_whitelist allowlist source_range")
    | _for("deny", "deny_ips blacklist ip_blacklist denylist")
    | _written('require = { scope = "…" }', "scopes scope required_scopes")
    | _written("require = { CLAIM = [ … ] }", "roles claims acl groups authorize authorization")
    | _for("concurrency", "limit_conn max_concurrent in_flight max_in_flight")
    | _written("match = { headers = { … } }", "match_headers header_match when conditions")
    | _written("match = { query = { … } }", "query match_query query_parameters query_params vars")
    | _unbuilt("middlewares and plugins are", "middlewares middleware plugins filters")
    | _instead("retry of [upstreams.NAME]", "retries retry num_retries retry_policy")
    | _unbuilt("caching is", "cache proxy_cache caching")
    | _unbuilt("mirroring is", "mirror request_mirror")
    | _TLS_IN,
    Certificate: _for("chain", "cert certificate cert_file ssl_certificate fullchain crt pem certificate_chain")
    | _for("key", "private_key key_file ssl_certificate_key keyfile"),
    Tls: _for("certificates", "certificate certs cert")
    | _instead(
        "certificates = [{ chain = …, key = … }]", "chain key ssl_certificate ssl_certificate_key cert_file key_file"
    )
    | _for("min_version", "ssl_protocols minimum_version min_tls_version protocols minversion")
    | _for("client_ca", "ssl_client_certificate ca client_cas trusted_ca client_certificate")
    | _for("client_auth", "ssl_verify_client verify_client clientauth client_auth_type")
    | _for("handshake_timeout", "ssl_handshake_timeout timeout")
    | _instead("nothing: HTTP/1.1 alone is offered", "alpn alpn_protocols http2")
    | _instead("nothing: those of Mozilla's intermediate list", "ciphers ssl_ciphers cipher_suites"),
    Breaker: _for("errors", "failure_rate error_rate failure_rate_threshold error_threshold_percentage failure_ratio")
    | _for("of", "minimum_number_of_calls request_volume_threshold minimum_throughput least requests")
    | _for("within", "window sliding_window_size sampling_duration interval")
    | _for("for", "open_for timeout break_duration sleep_window wait_duration_in_open_state cooldown duration"),
    Retry: _for("attempts", "tries max_attempts num_retries count retries proxy_next_upstream_tries")
    | _for("on", "retry_on conditions statuses status_codes when proxy_next_upstream")
    | _for("budget", "retry_budget budget_percent percent")
    | _instead("response_timeout of the upstream, which each attempt has for its own", "timeout per_try_timeout"),
    Store: _for("url", "uri addr address host hosts redis_url dsn endpoint server")
    | _for("password", "pass requirepass auth auth_token")
    | _for("ca", "cacert ca_file root_ca tls_ca ssl_ca_certs trusted_ca")
    | _instead(
        "certificate = { chain = …, key = … }",
        "cert key client_certificate client_cert cert_file key_file tls_cert tls_key ssl_certfile ssl_keyfile",
    )
    | _for("sentinel_password", "sentinel_pass sentinel_auth")
    | _for("timeout", "socket_timeout read_timeout command_timeout")
    | _for("on_failure", "fault_tolerant on_error fail_open failure_mode failure_mode_deny"),
    UpstreamTls: _for("ca", "cacert ca_file root_ca proxy_ssl_trusted_certificate trusted_ca root_cas")
    | _for("certificate", "cert client_certificate certs certificates client_cert")
    | _for("server_name", "sni servername proxy_ssl_name host")
    | _written("verify = false", "insecure_skip_verify insecureskipverify insecure proxy_ssl_verify skip_verify"),
    RateLimit: _written('window = "1s"', "second per_second rps")
    | _written('window = "1m"', "minute per_minute rpm")
    | _written('window = "1h"', "hour per_hour")
    | _written('window = "24h"', "day per_day")
    | _for("max", "limit requests count rate average burst points quota num tokens")
    | _for(
        "window", "period per interval window_ms time_window windowms unit duration fill_interval seconds window_size"
    )
    | _for("key", "by limit_by key_by source_criterion policy"),
    RegexRewrite: _for("pattern", "regex from match regexp path source")
    | _for("to", "replacement substitution replace target rewrite destination with"),
    HeaderRules: _written("set", "replace header headers_set")
    | _written("add", "append headers_add")
    | _written("remove", "delete unset hide del drop"),
    Cors: _for("origins", "origin allow_origins allow_origin allowed_origins access_control_allow_origin")
    | _for("methods", "method allow_methods allowed_methods access_control_allow_methods")
    | _for("headers", "header allow_headers allowed_headers access_control_allow_headers")
    | _for("max_age", "maxage max_age_seconds access_control_max_age")
    | _for("credentials", "allow_credentials allow_credential access_control_allow_credentials supports_credentials"),
    Test: _for("request", "url path method uri")
    | _for("claims", "token jwt payload user sub")
    | _for("api_key", "key apikey consumer")
    | _for("headers", "header fields request_headers")
    | _for("expect", "expected then response result"),
}
"""Table → key of another product, as `plain` has it → what to say of it."""

_TABLES: dict[str, type[Struct]] = {
    "[gateway]": Gateway,
    "[gateway.timeouts]": Timeouts,
    "[gateway.limits]": Limits,
    "[jwt.NAME]": Jwt,
    "[tls.NAME]": Tls,
    "[upstreams.NAME]": Upstream,
    "[[routes]]": Route,
}


def unknown_key(cls: type[Struct], name: str, value: object) -> str:
    """The message about a key that the table does not have, or "" when it is no known habit."""
    habit = _by_value(cls, plain(name), value) or _HABITS.get(cls, {}).get(plain(name))
    if habit is None and cls is HeaderRules and isinstance(value, str) and _LINE.fullmatch(f"{name}: {value}"):
        habit = Habit(meant=f"set = {{ {name} = {quoted(value)} }}")
    return habit.message if habit is not None else ""


_COUNTS = frozenset(map(plain, RateLimit.__struct_fields__)) | frozenset(_HABITS[RateLimit])
"""Keys of a rate limit, in rawgate and in other products."""


def _by_value(cls: type[Struct], name: str, value: object) -> Habit | None:
    """The habit behind a key of a route whose name alone does not tell, but its value does."""
    if cls is not Route:
        return None
    if name in _HOSTS and isinstance(value, list | tuple) and value and all(map(_is_host, value)):
        one = f"host = {quoted(value[0])}"
        return Habit(meant=one) if len(value) == 1 else Habit(expected=f"{one}, and a route for each of the others")
    if name == "limits" and isinstance(value, Mapping) and _COUNTS.isdisjoint(map(plain, map(str, value))):
        size = value.get("body")
        if list(value) == ["body"] and isinstance(size, str):
            return Habit(meant=f"body = {quoted(size)}")
        return Habit(expected='body = "…", the only one that a route has; the others are in [gateway.limits]')
    return None


def _is_host(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(HOST, value) is not None


_HOSTS = ("hosts", "hostnames", "domains", "servername")


def at_home(name: str) -> str:
    """Where this key belongs, when exactly one table has it; else ""."""
    places = [place for place, cls in _TABLES.items() if name in cls.__struct_fields__]
    return f"it in {places[0]}" if len(places) == 1 else ""


# ── values where a table stands ──

_RATE = re.compile(r"\s*([1-9][0-9]{0,8})\s*(?:r|req|reqs|requests)?\s*(?:/|per| )\s*(?:1\s*)?([a-zA-Z]+)\s*")
_UNITS = {"s": "1s", "sec": "1s", "second": "1s", "m": "1m", "min": "1m", "minute": "1m", "h": "1h", "hour": "1h"}
_UNITS |= {"d": "24h", "day": "24h"}
_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ -~]*[!-~])?)")


def _rate(value: object) -> str:
    """The table that was meant by "100/m", "10r/s" or "5 per hour", or ""."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    window = found and _UNITS.get(found[2].lower())
    return f'{{ max = {found[1]}, window = "{window}" }}' if found and window else ""


def table_meant(cls: type[Struct], value: object) -> str:
    """The table that was meant by a value that is none, or ""."""
    return _rate(value) if cls is RateLimit else ""


def limit_meant(alternatives: Sequence[object], value: object) -> str:
    """The table that was meant by a rate where a limit or its name may stand, or ""."""
    return _rate(value) if RateLimit in alternatives and len(alternatives) > 1 else ""


def pairs_meant(value: object) -> str:
    """The table that was meant by a list of texts like "Name: value", or ""."""
    lines = value if isinstance(value, list | tuple) else [value]
    found = [_LINE.fullmatch(line) if isinstance(line, str) else None for line in lines]
    if not found or None in found or len(found) > 4:
        return ""
    return "{ " + ", ".join(f"{line[1]} = {quoted(line[2])}" for line in found if line) + " }"


def is_unnamed(cls: type[Struct], value: Mapping[object, object]) -> bool:
    """Whether one table stands where a table of named ones is expected."""
    keys = {*cls.__struct_fields__, *_HABITS.get(cls, {})}
    return bool(value) and all(not isinstance(item, Mapping) and name in keys for name, item in value.items())


# ── words ──

_EDWARDS = ("ED25519", "OKP")
_BALANCE = dict.fromkeys(("leastconn", "leastconnections", "leastrequest", "p2c", "leasttime"), '"least_requests"')
_BALANCE |= dict.fromkeys(("iphash", "source", "ringhash", "maglev", "hash", "client"), '{ hash = "client" }')
_BALANCE |= dict.fromkeys(("uri", "urihash", "path"), '{ hash = "path" }') | {"rr": '"round_robin"'}
_SECP256K1 = "ES256K"
_SWITCHES = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}


def word_meant(value: object, words: tuple[str, ...]) -> str:
    """The word that was meant by one of other products, or ""."""
    if not isinstance(value, str):
        return ""
    if "least_requests" in words:
        return _BALANCE.get(plain(value), "")
    return '"EdDSA"' if "EdDSA" in words and value.upper() in _EDWARDS else ""


def unbuilt_word(value: object, words: tuple[str, ...]) -> str:
    """Why a word that other products accept is not possible here, or ""."""
    is_unbuilt = "EdDSA" in words and isinstance(value, str) and value.upper() == _SECP256K1
    return f"{quoted(_SECP256K1)} is not built yet" if is_unbuilt else ""


def switch_meant(value: object) -> str:
    """The boolean that was meant by a word, or ""."""
    return _SWITCHES.get(value.lower(), "") if isinstance(value, str) else ""

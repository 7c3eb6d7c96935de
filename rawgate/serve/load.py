"""From a configuration file to a gate that decides. Reports the findings of all rooms at once."""

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from msgspec import Struct

from rawgate.config.load import Draft, load
from rawgate.config.model import Breaker, Config, HashBalance, Retry, Target, UpstreamTls
from rawgate.config.suspicious import find_warnings
from rawgate.errors import ConfigError, Key, Problem
from rawgate.net import nameservers
from rawgate.net.instances import Instance, Source
from rawgate.net.tls_contexts import CertificateFiles, ClientTls, ServerTls, client_context, why_not_secured
from rawgate.policy.compile import Report, compile_gate, ignore
from rawgate.policy.gate import Gate
from rawgate.policy.limits import Limiters, Watch
from rawgate.relay.breaker import BreakerRule
from rawgate.relay.endpoints import Place
from rawgate.relay.options import UpstreamOptions
from rawgate.relay.retries import RetryRule
from rawgate.wire import RequestRules, ResponseRules

if TYPE_CHECKING:
    from rawgate.policy.certificates import Shown


class Loaded(Struct, frozen=True):
    """A configuration that can be served, and the gate that was compiled from it.

    warnings  a line for each setting that is allowed, and that rarely means what its author wants
    tls           name of a `[tls.NAME]` → its contexts
    upstream_tls  name of an upstream with https:// targets → how these are verified
    consul_tls    how Consul's agent is verified, if its address has https://
    shown         name of a `[tls.NAME]` → its certificates, for those who watch when they end
    """

    config: Config
    gate: Gate
    warnings: tuple[str, ...] = ()
    tls: Mapping[str, ServerTls] = {}
    upstream_tls: Mapping[str, ClientTls] = {}
    consul_tls: ClientTls | None = None
    shown: "Mapping[str, tuple[Shown, ...]]" = {}


def load_gate(
    path: Path,
    environ: Mapping[str, str],
    *,
    new_id: Callable[[], str],
    date: Callable[[], bytes],
    report: Report = ignore,
) -> Loaded:
    """Read and compile `path`. Raises ConfigError with one line per finding."""
    return compile_draft(load(path, environ), new_id=new_id, date=date, report=report)


def compile_draft(
    draft: Draft,
    *,
    new_id: Callable[[], str],
    date: Callable[[], bytes],
    report: Report = ignore,
    limiters: Limiters | None = None,
    watch: Watch | None = None,
    before: Loaded | None = None,
) -> Loaded:
    """Compile a configuration that was read. Raises ConfigError with one line per finding; the findings of reading are
    among them. limiters: those of the gate that this one succeeds, with their counts; None: new ones. watch: as in
    `compile_gate`. before: what this one succeeds; a `[tls.NAME]` that has not changed keeps its contexts, and one that
    admits the same clients their sessions."""
    problems: list[Problem] = list(draft.problems)
    found: list[Problem] = []
    gate = None
    shown: Mapping[str, tuple[Shown, ...]] = {}
    tls: Mapping[str, ServerTls] = {}
    upstream_tls: Mapping[str, ClientTls] = {}
    consul_tls = None
    if draft.config is not None:
        gate = compile_gate(
            draft.config,
            new_id=new_id,
            date=date,
            problems=problems,
            warnings=found,
            report=report,
            limiters=limiters,
            watch=watch,
        )
        shown = _checked_certificates(draft.config, problems, found)
        if not problems:
            tls = _server_tls(draft.config, shown, problems, before)
            upstream_tls = _client_tls(draft.config, problems)
            consul_tls = _consul_tls(draft.config, problems)
        _check_names(draft.config, problems)
    if problems or draft.config is None or gate is None:
        raise ConfigError(draft.report(problems))
    found += find_warnings(draft.config, draft.lines)
    warnings = [Problem(warning.path, f"warning: {warning.message}") for warning in found]
    return Loaded(draft.config, gate, tuple(draft.report(warnings)), tls, upstream_tls, consul_tls, shown)


def _checked_certificates(
    config: Config, problems: list[Problem], warnings: list[Problem]
) -> "Mapping[str, tuple[Shown, ...]]":
    """See `policy.certificates`. Nothing, where there are none."""
    if not config.tls and not any(upstream.tls for upstream in config.upstreams.values()):
        return {}
    # Here, since it brings all of X.509 and the formats of SSH: no start without certificates has a use for them.
    from rawgate.policy.certificates import check_certificates

    return check_certificates(config, time(), problems, warnings)


def _server_tls(
    config: Config, shown: "Mapping[str, tuple[Shown, ...]]", problems: list[Problem], before: Loaded | None
) -> dict[str, ServerTls]:
    """The contexts of all `[tls.NAME]`, whose certificates have been checked."""
    made = {}
    for name, spec in config.tls.items():
        if before is not None and before.config.tls.get(name) == spec:
            made[name] = before.tls[name]
            continue
        certificates = [
            CertificateFiles(files.chain.value, files.key.value, seen.names)
            for files, seen in zip(spec.certificates, shown[name], strict=True)
        ]
        try:
            made[name] = ServerTls(
                certificates,
                min_version=spec.min_version,
                client_ca=b"" if spec.client_ca is None else spec.client_ca.value,
                require_client=spec.client_auth == "require",
                handshake_timeout=spec.handshake_timeout,
                before=None if before is None else before.tls.get(name),
            )
        except OSError as error:
            problems.append(Problem(("tls", name), f"OpenSSL does not take it: {why_not_secured(error)}"))
    return made


def _client_tls(config: Config, problems: list[Problem]) -> dict[str, ClientTls]:
    """How the https:// targets of each upstream are verified."""
    made = {}
    for name, spec in config.upstreams.items():
        if not any(target.scheme == "https" for target in spec.targets):
            continue
        tls = UpstreamTls() if spec.tls is None else spec.tls
        ca = b"" if tls.ca is None else tls.ca.value
        files = tls.certificate
        certificate = None if files is None else CertificateFiles(files.chain.value, files.key.value)
        try:
            context = client_context(ca=ca, certificate=certificate, min_version=tls.min_version, verify=tls.verify)
        except OSError as error:
            where = ("upstreams", name, "tls")
            problems.append(Problem(where, f"OpenSSL does not take it: {why_not_secured(error)}"))
            continue
        parts = [ca, b"" if certificate is None else certificate.chain, tls.min_version.encode(), b"%d" % tls.verify]
        identity = sha256(b"|".join(parts)).hexdigest()
        made[name] = ClientTls(context, (tls.server_name or "").strip("[]"), identity)
    return made


def _consul_tls(config: Config, problems: list[Problem]) -> ClientTls | None:
    consul = config.consul
    if consul is None or consul.address.scheme != "https":
        return None
    try:
        return ClientTls(client_context(ca=b"" if consul.ca is None else consul.ca.value), "", "")
    except OSError as error:
        problems.append(Problem(("consul", "ca"), f"OpenSSL does not take it: {why_not_secured(error)}"))
        return None


def _check_names(config: Config, problems: list[Problem]) -> None:
    """What asks name servers needs a package that may be missing."""
    asking: list[tuple[Key, ...]] = [
        ("upstreams", name, "targets", position)
        for name, spec in config.upstreams.items()
        for position, target in enumerate(spec.targets)
        if target.source in ("dns", "srv")
    ]
    if config.gateway.resolver:
        asking.append(("gateway", "resolver"))
    # Only then, since it reads all that a question needs.
    if asking and not nameservers.is_installed():
        problems += [Problem(where, NOT_INSTALLED) for where in asking]


NOT_INSTALLED = (
    "asks name servers, which needs the package dnspython, and that is not installed (expected pip install "
    "'rawgate[names]'; the single file has it)"
)


def request_rules(loaded: Loaded) -> RequestRules:
    """The rules by which request heads are read: the configured limits, and the fields that the gate asks for."""
    limits, gate = loaded.config.gateway.limits, loaded.gate
    fast = loaded.config.gateway.parser == "fast"
    return RequestRules(
        limits.head, limits.headers, limits.target, gate.wanted, gate.protected, fast, gate.removable, gate.methods
    )


def response_rules(loaded: Loaded) -> ResponseRules:
    """The rules by which response heads are read."""
    limits, gate = loaded.config.gateway.limits, loaded.gate
    fast = loaded.config.gateway.parser == "fast"
    return ResponseRules(limits.head, limits.headers, gate.response_wanted, fast, gate.response_removable)


def source_of(target: Target) -> Source | None:
    """Who tells where the instances of a target are; None where it is one itself."""
    return Source(target.source, target.host, target.port, target.query) if target.source else None


def name_of(target: Target) -> str:
    """What a target that is written down is called; see `Place.name`."""
    return Place(target.host, target.port, target.scheme, path=target.path).name


def _places(
    targets: Iterable[Target], tls: ClientTls | None, told: Mapping[Source, tuple[Instance, ...]]
) -> tuple[tuple[Place, ...], list[Source]]:
    """Where the targets of an upstream are, and the sources that have not answered yet."""
    places: list[Place] = []
    silent: list[Source] = []
    for target in targets:
        source = source_of(target)
        if source is None:
            places.append(_place(target, Instance(False, target.host, target.port), tls))
        elif source in told:
            places += [_place(target, instance, tls) for instance in told[source]]
        else:
            silent.append(source)
    return tuple(places), silent


def _untold(source: Source, why: str) -> str:
    return f"Cannot look up {source}: {why}." if why else f"Still looking up {source}."


def _place(target: Target, instance: Instance, tls: ClientTls | None) -> Place:
    """Where an instance is that a target is, or that its source tells of."""
    server_name = trust = ""
    if tls is not None and target.scheme == "https":
        # What the configuration says, and never what somebody else says of it: who can forge an answer would choose
        # the certificate, too (RFC 6125 section 6.2.1).
        server_name = tls.server_name or (target.authority if target.source in ("srv", "consul") else target.host)
        trust = tls.identity
    return Place(
        instance.host,
        instance.port,
        target.scheme,
        server_name,
        target.weight * instance.weight,
        target.zone,
        target.path,
        trust,
        target.backup or instance.backup,
    )


def upstream_options(
    name: str,
    loaded: Loaded,
    told: Mapping[Source, tuple[Instance, ...]] | None = None,
    problems: Mapping[Source, str] | None = None,
) -> UpstreamOptions:
    """What the configuration says of an upstream, as its pool wants it. told: by the sources of its targets, as far as
    they have answered. problems: why others have not."""
    spec, limits = loaded.config.upstreams[name], loaded.config.gateway.limits
    places, silent = _places(spec.targets, loaded.upstream_tls.get(name), told or {})
    why = problems or {}
    return UpstreamOptions(
        name=name,
        places=places,
        expects_more=bool(silent),
        is_futile=all(source in why for source in silent),
        untold=" ".join(_untold(source, why.get(source, "")) for source in silent),
        connect_timeout=spec.connect_timeout,
        response_timeout=spec.response_timeout,
        idle_timeout=spec.idle_timeout,
        total_timeout=spec.total_timeout,
        max_connections=spec.max_connections,
        keep_alive=spec.keep_alive,
        queue=spec.queue,
        queue_timeout=spec.queue_timeout,
        per_client=max(1, spec.max_connections // 4) if spec.per_client is None else spec.per_client,
        reuse_after_body=spec.reuse == "always",
        max_tunnels=limits.connections if spec.max_tunnels is None else spec.max_tunnels,
        slow_start=spec.slow_start,
        tunnel_idle=spec.tunnel_idle,
        tunnel_max_age=spec.tunnel_max_age,
        balance="hash" if isinstance(spec.balance, HashBalance) else spec.balance,
        zone=loaded.config.gateway.zone or "",
        breaker=_breaker_rule(spec.breaker),
        retry=_retry_rule(spec.retry),
    )


def _breaker_rule(spec: Breaker | None) -> BreakerRule | None:
    return None if spec is None else BreakerRule(spec.errors, spec.of, spec.within, spec.for_)


def _retry_rule(spec: Retry | None) -> RetryRule | None:
    if spec is None:
        return None
    return RetryRule(
        spec.attempts,
        "connect" in spec.on,
        "reset" in spec.on,
        "timeout" in spec.on,
        frozenset(one for one in spec.on if isinstance(one, int)),
        spec.budget,
    )

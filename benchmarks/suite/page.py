"""The results as one self-contained HTML page. `plots` draws its plots as SVG."""

from collections.abc import Sequence
from html import escape
from itertools import groupby

from suite import plots
from suite.plots import BarRow, DotRow
from suite.report import Ratio, Results, bar_number, bars, per_second, ratio_text, titles_of
from suite.rounds import ContenderOutcome, WorkloadOutcome
from suite.special import Special, SpecialOutcome

STYLE = """
:root { color-scheme: light dark; --ink: #1b2330; --dim: #5c6675; --line: #e4e4df; --axis: #9aa2ad; --page: #fcfcfa;
  --card: #ffffff; --ours: #0b7a75; --ours2: #86c9c4; --theirs: #7b8694; --theirs2: #c9ced6; --good: #17713a;
  --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ec; --dim: #a0a9b6; --line: #2a313b; --axis: #5e6876;
  --page: #12161b; --card: #181d24; --ours: #35bdb4; --ours2: #1b6963; --theirs: #97a1af; --theirs2: #4b5562;
  --good: #56c778; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; color: var(--ink); background: var(--page);
  margin: 0 auto; max-width: 64rem; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; margin: 3.2rem 0 .4rem; padding-top: 1.2rem; border-top: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .1rem; }
p { margin: .35rem 0; max-width: 52rem; } .dim { color: var(--dim); font-size: .92rem; }
code { font-size: .9em; background: var(--card); border: 1px solid var(--line); border-radius: 4px; padding: 0 .3em; }
dl { display: flex; flex-wrap: wrap; gap: .2rem 1.6rem; margin: 1rem 0 0; font-size: .88rem; }
dl div { display: flex; gap: .45em; } dt { color: var(--dim); } dd { margin: 0; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .7rem 0; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
th { color: var(--dim); font-weight: 500; }
.met { color: var(--good); } .missed { color: var(--bad); font-weight: 600; }
.plot { overflow-x: auto; margin: .5rem 0 .3rem; }
svg { display: block; width: 100%; min-width: 42rem; height: auto; }
svg text { fill: var(--ink); font-size: 13.5px; font-variant-numeric: tabular-nums; } svg .dim { fill: var(--dim); }
svg .figure { fill: var(--dim); } svg .strong { fill: var(--ink); font-weight: 600; }
svg .met { fill: var(--good); font-weight: 600; }
svg .missed { fill: var(--bad); font-weight: 600; }
.first { fill: var(--theirs); } .second { fill: var(--theirs2); } .ours .first { fill: var(--ours); }
.ours .second { fill: var(--ours2); } .ours .label { font-weight: 600; }
.whisker line { stroke: var(--ink); stroke-width: 1.4; opacity: .75; }
circle { fill: var(--theirs); stroke: var(--page); stroke-width: 1.5; } .ours circle { fill: var(--ours); }
.grid { stroke: var(--line); } .axis { stroke: var(--axis); stroke-width: 1.5; }
.bar { stroke: var(--bad); stroke-width: 3; }
.key { display: inline-block; width: .85em; height: .85em; margin: 0 .35em 0 1.1em; vertical-align: -.08em;
  border-radius: 2px; } .key.round { border-radius: 50%; } .key.stroke { width: .2em; margin-right: .5em; }
.key:first-child { margin-left: 0; }
details { margin: .4rem 0; } summary { cursor: pointer; color: var(--dim); font-size: .9rem; }
ul { padding-left: 1.2rem; }
.ratios { padding: 0; margin: .3rem 0; list-style: none; font-size: .92rem; columns: 2 29rem; }
.ratios li { break-inside: avoid; } li span { white-space: nowrap; }
nav { margin-top: 1.2rem; font-size: .92rem; } nav a { margin-right: 1.1em; }
a { color: var(--ours); }
"""

OCTAVES = [(0.125, "⅛"), (0.25, "¼"), (0.5, "½"), (1.0, "1"), (2.0, "2"), (4.0, "4"), (8.0, "8")]
USER_SYSTEM = (
    ("ours", "rawgate, user"),
    ("ours2", "rawgate, system"),
    ("theirs", "others, user"),
    ("theirs2", "others, system"),
)


def page(results: Results) -> str:
    sections = [
        ("Where it stands", _bars(results)),
        ("At a glance", _glance(results)),
        *((name, "".join(_workload(each) for each in group)) for name, group in _grouped(results)),
        ("Delays", "".join(_delays(each) for each in results.specials if _is_delays(each))),
        ("Memory", _memory(results)),
        ("At rest, at the start", "".join(_special(each) for each in results.specials if not _is_delays(each))),
        ("Method", _method(results)),
    ]
    filled = [(name, content) for name, content in sections if content]
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name, _ in filled)
    body = "".join(f'<h2 id="{_anchor(name)}">{escape(name)}</h2>{content}\n' for name, content in filled)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>rawgate: benchmarks</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body>{_head(results)}<nav>{links}</nav>\n{body}</body></html>\n"
    )


def _anchor(name: str) -> str:
    return "-".join("".join(letter for letter in name.lower() if letter.isalnum() or letter == " ").split())


def _grouped(results: Results) -> list[tuple[str, list[WorkloadOutcome]]]:
    """The workloads by section, in order."""
    return [(name, list(group)) for name, group in groupby(results.workloads, key=lambda outcome: outcome.section)]


def _is_delays(outcome: SpecialOutcome) -> bool:
    return outcome.name.startswith("delays")


def _is_ours(contender: str) -> bool:
    return contender.startswith("rawgate")


def _style(contender: str) -> str:
    return "ours" if _is_ours(contender) else ""


def _legend(*keys: tuple[str, str], shape: str = "") -> str:
    return "".join(
        f'<span class="key {shape}" style="background:var(--{colour})"></span>{escape(text)}' for colour, text in keys
    )


def _head(results: Results) -> str:
    machine = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in results.machine.items()
    )
    return (
        "<h1>rawgate beside others that do the same job</h1>"
        f"<p class='dim'>{escape(results.date)} · revision {escape(results.revision)} · "
        f"<code>{escape(results.command)}</code> · {results.rounds} rounds of {results.seconds:g} s</p>"
        f"<dl>{machine}</dl>"
    )


def _bars(results: Results) -> str:
    found = bars(results)
    if not found:
        return ""
    rows = "".join(_bar_row(ratio) for ratio in found)
    met = sum(ratio.met for ratio in found)
    return (
        f"<p>{met} of {len(found)} bars are met. A ratio is CPU time of one divided by that of the other, within each "
        "round: median, and lowest to highest. Lower is better.</p><div class='table'><table><tr><th>What</th>"
        f"<th>median</th><th>spread</th><th>bar</th><th></th></tr>{rows}</table></div>"
    )


def _bar_row(ratio: Ratio) -> str:
    verdict = _verdict(ratio.met) if ratio.sound else '<span class="missed">✗ did not keep up</span>'
    return (
        f"<tr><td>{escape(ratio.what)}</td><td>{bar_number(ratio, ratio.value.median)}</td>"
        f"<td>{bar_number(ratio, ratio.value.least)}–{bar_number(ratio, ratio.value.most)}</td>"
        f"<td>≤ {ratio.bar:g} {escape(ratio.unit)}</td><td>{verdict}</td></tr>"
    )


def _verdict(met: bool) -> str:
    return '<span class="met">✓ met</span>' if met else '<span class="missed">✗ missed</span>'


def _glance(results: Results) -> str:
    """A plot of the first ratio of each workload: rawgate to its comparison."""
    rows = []
    for outcome in results.workloads:
        for ratio in outcome.ratios[:1]:
            spread = ratio.spread
            missed = ratio.bar is not None and spread.median > ratio.bar
            figure = (f"{spread.median:.2f}", "missed" if missed else "met" if ratio.bar else "")
            rows.append(
                DotRow(
                    outcome.title,
                    ((spread.median, spread.least, spread.most, "ours"),),
                    ratio.bar,
                    ((titles_of(outcome)[ratio.to], ""), figure),
                )
            )
    if not rows:
        return ""
    highest = max(dot[2] for row in rows for dot in row.dots)
    lowest = min(dot[1] for row in rows for dot in row.dots)
    # An octave more on both sides than is needed for 1.
    ticks = [tick for tick in OCTAVES if min(lowest, 0.5) / 2 < tick[0] < max(highest, 2.0) * 2]
    return (
        "<p class='dim'>CPU time of rawgate for a unit of work, divided by the other's: left of 1 rawgate costs less. "
        "Median of rounds, with the lowest and the highest.</p>"
        f"<p class='dim'>{_legend(('ours', 'rawgate ÷ the other'), shape='round')}"
        f"{_legend(('bad', 'the bar, where there is one'), shape='stroke')}</p>"
        f"{plots.dots('Ratios', rows, ticks, ('', 'to', 'ratio'), emphasis=1.0, label=380)}"
    )


def _workload(outcome: WorkloadOutcome) -> str:
    unit = outcome.unit
    rows = [
        BarRow(
            each.title,
            (each.user.median, each.system.median),
            each.cpu.least,
            each.cpu.most,
            _number(each.cpu.median),
            (f"{each.rate.median:,.0f}", f"{each.memory / 2**20:,.0f} MiB"),
            _style(each.contender),
        )
        for each in outcome.contenders
    ]
    ratios = "".join(f"<li>{_ratio(outcome, index)}</li>" for index in range(len(outcome.ratios)))
    what = f"<p>{escape(outcome.what)}</p>" if outcome.what else ""
    plot = plots.bars(outcome.title, rows, (per_second(unit), "memory"))
    return (
        f"<h3>{escape(outcome.title)}</h3>{what}<p class='dim'>CPU µs a {unit}: {_legend(*USER_SYSTEM)}</p>{plot}"
        f"<ul class='ratios'>{ratios}</ul>{_remarks(outcome.remarks)}"
        f"<details><summary>All figures</summary>{_figures(outcome)}</details>"
    )


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _remarks(remarks: Sequence[str]) -> str:
    return "".join(f'<p class="missed">{escape(remark)}</p>' for remark in remarks)


def _ratio(outcome: WorkloadOutcome, index: int) -> str:
    ratio = outcome.ratios[index]
    text = escape(ratio_text(outcome, ratio))
    if ratio.bar is None:
        return f"<span class='dim'>{text}</span>"
    return f"{text}, bar {ratio.bar:g}: {_verdict(ratio.spread.median <= ratio.bar)}"


def _figures(outcome: WorkloadOutcome) -> str:
    rows = "".join(_figures_row(each) for each in outcome.contenders)
    names = (per_second(outcome.unit), "CPU µs", "lowest", "highest", "user", "system", "p50 µs", "p99 µs", "MiB")
    header = "".join(f"<th>{name}</th>" for name in names)
    return (
        f"<div class='table'><table><tr><th></th>{header}</tr>{rows}</table></div><p class='dim'>p50 and p99 are those "
        "of the load generator at full load, where they say how long the queue was. For delays see below.</p>"
    )


def _figures_row(each: ContenderOutcome) -> str:
    figures = [f"{each.rate.median:,.0f}", *(_number(value) for value in (each.cpu.median, each.cpu.least))]
    figures += [_number(value) for value in (each.cpu.most, each.user.median, each.system.median)]
    figures += [f"{delay:,.0f}" if delay else "–" for delay in (each.p50, each.p99)]
    figures.append(f"{each.memory / 2**20:.1f}")
    return f"<tr><td>{escape(each.title)}</td>{''.join(f'<td>{figure}</td>' for figure in figures)}</tr>"


def _delays(outcome: SpecialOutcome) -> str:
    values = [each.value for each in outcome.figures]
    ticks = plots.logarithmic_ticks(min(each.least for each in values), max(each.most for each in values))
    rows = [
        DotRow(
            f"{part}, {each.title}",
            ((each.value.median, each.value.least, each.value.most, _style(each.contender)),),
            columns=((f"{each.value.median:,.0f} µs", "strong" if _is_ours(each.contender) else ""),),
        )
        for part in ("p50", "p99", "p99.9")
        for each in outcome.figures
        if each.part == part
    ]
    ratio = ""
    if outcome.ratio is not None:
        spread = outcome.ratio
        ratio = f"p99, rawgate ÷ nginx: {spread.median:.2f} ({spread.least:.2f}–{spread.most:.2f})"
        if outcome.bar is not None and not outcome.remarks:
            ratio += f", bar {outcome.bar:g}: {_verdict(spread.median <= outcome.bar)}"
    return (
        f"<h3>{escape(outcome.title)}</h3><p class='dim'>Microseconds, logarithmic. "
        f"{_legend(('ours', 'rawgate'), ('theirs', 'others'), shape='round')}</p>"
        f"{plots.dots(outcome.title, rows, ticks, ('',))}<p>{ratio}</p>{_remarks(outcome.remarks)}"
    )


def _memory(results: Results) -> str:
    """Memory, for one workload of each kind."""
    shown = [outcome for outcome in results.workloads if outcome.name in ("plain", "full", "many", "many-10k")]
    if not shown:
        return ""
    drawn = "".join(f"<h3>{escape(each.title)}</h3>{_memory_plot(each)}" for each in shown)
    return (
        "<p class='dim'>MiB of all processes of a contender after the last round (proportional set size: pages that "
        f"several processes share are counted once in all).</p>{drawn}"
    )


def _memory_plot(outcome: WorkloadOutcome) -> str:
    octets = [(each, each.memory / 2**20) for each in outcome.contenders]
    rows = [BarRow(each.title, (mib,), 0, 0, f"{mib:,.1f}", (), _style(each.contender)) for each, mib in octets]
    return plots.bars(f"Memory: {outcome.title}", rows)


def _special(outcome: SpecialOutcome) -> str:
    rows = [_special_row(each) for each in outcome.figures]
    verdict = ""
    if outcome.bar is not None:
        met = outcome.figures[0].value.median <= outcome.bar
        verdict = (
            f"<p>{escape(outcome.figures[0].title)}: bar {outcome.bar:g} {escape(outcome.unit)}: {_verdict(met)}</p>"
        )
    return (
        f"<h3>{escape(outcome.title)}</h3><p class='dim'>{escape(outcome.unit)}</p>"
        f"{plots.bars(outcome.title, rows)}{verdict}{_remarks(outcome.remarks)}"
    )


def _special_row(each: Special) -> BarRow:
    value = each.value
    return BarRow(
        each.title, (value.median,), value.least, value.most, f"{value.median:,.0f}", (), _style(each.contender)
    )


def _method(results: Results) -> str:
    skipped = "".join(f"<li>{escape(text)}</li>" for text in results.skipped)
    left_out = f"<p>Left out:</p><ul>{skipped}</ul>" if skipped else ""
    return (
        "<p>The server that is measured has one core; the load generator and the upstream share the others. All "
        f"contenders of a workload are up at once, and each of {results.rounds} rounds measures each of them for "
        f"{results.seconds:g} s, in an order that turns. CPU time is user and system time of all processes of the "
        "contender, from /proc, over the requests answered, since requests per second say little when the generator, "
        "and not the server, is what is busy. Requests, and the upstream's answers, differ from one another in path, "
        "query, ids and date. The upstream counts what reaches it: a contender that answered by itself would be named. "
        "Delays are h2load's, at a rate that it holds; where a server does not keep up, that is said, since the delays "
        "of requests that were never sent are not among them.</p><p>Every configuration is a file in "
        "<code>benchmarks/contenders</code>, with the reason for each line that matters. The figures of each round are "
        f"in <code>results.json</code>, beside this page.</p>{left_out}"
    )

"""The results as one HTML page that needs nothing else: plots are SVG, drawn here."""

from collections.abc import Sequence
from html import escape

from suite.report import Ratio, Results, bars
from suite.rounds import Outcome, WorkloadOutcome
from suite.special import SpecialOutcome

STYLE = """
:root { --ink: #1c2430; --dim: #66707f; --line: #e3e6ea; --ours: #0b7a75; --ours2: #7cc4c0; --theirs: #8a94a3;
  --theirs2: #c6ccd4; --good: #1a7f37; --bad: #b42318; --page: #fbfbfa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --dim: #98a2b0; --line: #2c333d; --ours: #2bb3ac;
  --ours2: #17615d; --theirs: #8a94a3; --theirs2: #4a535f; --good: #4ac26b; --bad: #ff7b72; --page: #14181d; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0 auto;
  max-width: 60rem; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .3rem; }
p { margin: .3rem 0; } .dim { color: var(--dim); font-size: .9rem; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; font-variant-numeric: tabular-nums;
  font-size: .92rem; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; } th { color: var(--dim); font-weight: 500; }
.met { color: var(--good); } .missed { color: var(--bad); font-weight: 600; }
svg { display: block; width: 100%; height: auto; margin: .5rem 0; } svg text { fill: var(--ink); font-size: 13px; }
svg .dim { fill: var(--dim); } .user { fill: var(--theirs); } .system { fill: var(--theirs2); }
.ours .user { fill: var(--ours); } .ours .system { fill: var(--ours2); } .whisker { stroke: var(--ink); }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; vertical-align: -.05em; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--dim); }
"""

ROW, LEFT, WIDTH, RIGHT = 30, 230, 900, 90


def page(results: Results) -> str:
    parts = [_head(results), _bars(results)]
    parts += [_workload(outcome) for outcome in results.workloads]
    parts += [_special(outcome) for outcome in results.specials]
    parts.append(_method(results))
    body = "\n".join(parts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>rawgate: benchmarks</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body>{body}</body></html>\n"
    )


def _head(results: Results) -> str:
    machine = " · ".join(f"{escape(name)}: {escape(value)}" for name, value in results.machine.items())
    return (
        f"<h1>rawgate beside others</h1><p>{escape(results.date)} · revision {escape(results.revision)} · "
        f"<code>{escape(results.command)}</code></p><p class='dim'>{machine}</p>"
    )


def _bars(results: Results) -> str:
    rows = "".join(_bar_row(ratio) for ratio in bars(results))
    if not rows:
        return ""
    return (
        "<h2>Where it stands</h2><p class='dim'>CPU time of one divided by that of the other, within each round: "
        "median, and lowest to highest. Lower is better.</p><table><tr><th>What</th><th>median</th><th>spread</th>"
        f"<th>bar</th><th></th></tr>{rows}</table>"
    )


def _bar_row(ratio: Ratio) -> str:
    digits = 0 if ratio.unit else 2
    unit = f" {ratio.unit}" if ratio.unit else ""
    verdict = '<td class="met">met</td>' if ratio.met else '<td class="missed">missed</td>'
    return (
        f"<tr><td>{escape(ratio.what)}</td><td>{ratio.value.median:,.{digits}f}{unit}</td>"
        f"<td>{ratio.value.least:,.{digits}f}–{ratio.value.most:,.{digits}f}</td><td>{ratio.bar:g}{unit}</td>"
        f"{verdict}</tr>"
    )


def _workload(outcome: WorkloadOutcome) -> str:
    what = outcome.unit
    ratios = "".join(f"<p>{_ratio(outcome, index)}</p>" for index in range(len(outcome.ratios)))
    return (
        f"<h2>{escape(outcome.title)}</h2><p class='dim'>CPU µs a {what}, median of rounds; the thin line runs from "
        f"the lowest round to the highest.{_legend()}</p>{_plot(outcome)}{ratios}{_remarks(outcome.remarks)}"
        f"<details><summary>Figures</summary>{_figures(outcome, what)}</details>"
    )


def _remarks(remarks: Sequence[str]) -> str:
    return "".join(f'<p class="missed">{escape(remark)}</p>' for remark in remarks)


def _legend() -> str:
    return "".join(
        f'<span class="key" style="background:var(--{colour})"></span>{text}'
        for colour, text in (("theirs", "user"), ("theirs2", "system"))
    )


def _plot(outcome: WorkloadOutcome) -> str:
    top = max(each.cpu.most for each in outcome.contenders) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / top
    rows = "".join(_plot_row(each, index * ROW, scale) for index, each in enumerate(outcome.contenders))
    height = ROW * len(outcome.contenders)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(outcome.title)}">{rows}</svg>'


def _plot_row(each: Outcome, y: int, scale: float) -> str:
    whose = ' class="ours"' if each.contender.startswith("rawgate") else ""
    user, system = each.user.median * scale, each.system.median * scale
    middle = y + ROW / 2
    least, most = LEFT + each.cpu.least * scale, LEFT + each.cpu.most * scale
    return (
        f'<g{whose}><text x="{LEFT - 10}" y="{middle + 4}" text-anchor="end">{escape(each.title)}</text>'
        f'<rect class="user" x="{LEFT}" y="{y + 6}" width="{user:.1f}" height="{ROW - 12}"/>'
        f'<rect class="system" x="{LEFT + user:.1f}" y="{y + 6}" width="{system:.1f}" height="{ROW - 12}"/>'
        f'<line class="whisker" x1="{least:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<text x="{max(most, LEFT + user + system) + 8:.1f}" y="{middle + 4}">{each.cpu.median:,.1f}</text></g>'
    )


def _ratio(outcome: WorkloadOutcome, index: int) -> str:
    ratio = outcome.ratios[index]
    titles = {each.contender: each.title for each in outcome.contenders}
    spread = ratio.spread
    text = (
        f"{escape(titles[ratio.of])} ÷ {escape(titles[ratio.to])}: <b>{spread.median:.2f}</b> "
        f"({spread.least:.2f}–{spread.most:.2f})"
    )
    if ratio.bar is None:
        return text
    verdict = ("met", "met") if spread.median <= ratio.bar else ("missed", "missed")
    return f'{text}, bar {ratio.bar:g}: <span class="{verdict[0]}">{verdict[1]}</span>'


def _figures(outcome: WorkloadOutcome, what: str) -> str:
    rows = "".join(
        f"<tr><td>{escape(each.title)}</td><td>{each.rate.median:,.0f}</td><td>{each.cpu.median:,.1f}</td>"
        f"<td>{each.user.median:,.1f}</td><td>{each.system.median:,.1f}</td><td>{each.memory / 2**20:.0f}</td></tr>"
        for each in outcome.contenders
    )
    return (
        f"<table><tr><th></th><th>{what}s/s</th><th>CPU µs</th><th>user</th><th>system</th><th>MiB of memory</th></tr>"
        f"{rows}</table>"
    )


def _special(outcome: SpecialOutcome) -> str:
    rows = "".join(
        f"<tr><td>{escape(each.title)}</td><td>{each.value.median:,.0f}</td><td>{each.value.least:,.0f}</td>"
        f"<td>{each.value.most:,.0f}</td></tr>"
        for each in outcome.figures
    )
    return (
        f"<h2>{escape(outcome.title)}</h2><table><tr><th></th><th>{escape(outcome.unit)}, median</th><th>lowest</th>"
        f"<th>highest</th></tr>{rows}</table>{_remarks(outcome.remarks)}"
    )


def _method(results: Results) -> str:
    skipped = "".join(f"<li>{escape(text)}</li>" for text in results.skipped)
    left_out = f"<p>Left out, because it is not installed:</p><ul>{skipped}</ul>" if skipped else ""
    return (
        "<h2>Method</h2><p>The server that is measured has one core; the load generator and the upstream share the "
        f"others. All contenders of a workload are up at once, and each of {results.rounds} rounds measures each of "
        f"them for {results.seconds:g} s, in an order that turns. CPU time is user and system time of all processes "
        "of the contender, from /proc, over the requests answered. Requests, and the upstream's answers, differ from "
        "one another in path, query, ids and date. Every configuration is a file in benchmarks/contenders.</p>"
        f"{left_out}"
    )

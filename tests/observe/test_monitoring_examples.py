"""The dashboard and the alert rules: each metric and label that they name is one that the gateway has."""

import json
import re
from pathlib import Path

import pytest

import rawgate
from rawgate.errors import REASONS
from rawgate.observe.metrics import METRICS

FOLDER = Path(rawgate.__file__).parent / "examples" / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text("utf-8"))
ALERTS = (FOLDER / "prometheus-alerts.yml").read_text("utf-8")
SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",)}
SERIES = {f"{one.name}{suffix}": one for one in METRICS for suffix in SUFFIXES[one.kind]}
WORDS = {
    "decision": {"admitted", "refused"},
    "result": {"done", "made", "refused"},
    "status": {f"{n}xx" for n in range(1, 6)},
}
OF_PROMETHEUS = {"job", "instance", "le"}

QUERIES = [
    *[target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())],
    *[variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"],
    *re.findall(r"expr: (?:\|\n((?: {10,}.*\n)+)|(.*)\n)", ALERTS),
]
EXPRESSIONS = ["".join(query) for query in QUERIES]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_it_asks_for_exists(expression: str) -> None:
    asked = re.findall(r"\b(rawgate_\w+)(?:\{([^}]*)\})?", expression)
    assert asked or "up{" in expression
    for name, selectors in asked:
        assert name in SERIES
        known = {*SERIES[name].labels, *OF_PROMETHEUS}
        for label, value in re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', selectors):
            assert label in known, f"{name} has no label {label}"
            assert "$" in value or value in WORDS.get(label, {value, *REASONS})
        for labels in re.findall(r"\bby \(([^)]*)\)", expression):
            assert {label.strip() for label in labels.split(",")} <= known
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_a_legend_names_labels_that_are_there(panel: dict[str, object]) -> None:
    targets = panel.get("targets", [])
    assert isinstance(targets, list)
    for target in targets:
        named = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"]))
        there = {label for name, one in SERIES.items() if name in target["expr"] for label in one.labels}
        assert named <= there


def test_every_metric_is_shown() -> None:
    shown = "".join(EXPRESSIONS)
    assert [one.name for one in METRICS if one.name not in shown] == []


def test_panels_do_not_overlap() -> None:
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places
        assert max(x for x, _ in cells) < 24
        places |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_alert_says_something() -> None:
    alerts = re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", ALERTS, re.DOTALL)
    assert len(alerts) == len({name for name, _ in alerts}) > 5
    for name, text in alerts:
        assert "severity:" in text, name
        assert "summary:" in text, name

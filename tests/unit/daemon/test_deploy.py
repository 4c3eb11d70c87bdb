"""What deploy/ refers to exists: every metric of the alerts and the dashboard is one that the switch exports."""

import json
import re
from pathlib import Path

import pytest

from vswitchd import metrics

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
LABELS = {
    "port",
    "reason",
    "direction",
    "core",
    "state",
    "layer",
    "bridge",
    "table",
    "target",
    "instance",
    "job",
}


def exported():
    """Names in the collector's source, and what the drivers add."""
    return (
        set(metrics.DRIVER_HELP)
        | set(re.findall(r'"(vs_[a-z_]+)"', Path(metrics.__file__).read_text()))
        | {
            f"vs_port_{name}_total"
            for name in re.findall(r'\("(\w+)", "', Path(metrics.__file__).read_text())
        }
    )


def used(text):
    recorded = set(re.findall(r"\w+:(vs_\w+):\w+", text))
    return set(re.findall(r"\bvs_[a-z_]+", text)) - recorded


@pytest.mark.parametrize("name", ["prometheus/rules.yaml", "grafana/vswitchd.json"])
def test_metrics_that_are_referred_to_are_exported(name):
    text = (DEPLOY / name).read_text()
    assert used(text)
    assert used(text) <= exported()


def test_the_dashboard_is_json_with_panels_apart():
    board = json.loads((DEPLOY / "grafana/vswitchd.json").read_text())
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
    assert len(places) == len(set(places)) == len({p["id"] for p in board["panels"]})


def test_labels_of_the_rules_are_known():
    text = (DEPLOY / "prometheus/rules.yaml").read_text()
    for group in re.findall(r"by \(([^)]*)\)", text):
        assert {label.strip() for label in group.split(",")} <= LABELS


def test_programs_of_the_unit_and_image_have_the_options_they_use():
    from vswitchd.__main__ import parser

    known = {option for action in parser()._actions for option in action.option_strings}
    for name in ("systemd/vswitchd.service", "container/Dockerfile"):
        text = (DEPLOY / name).read_text()
        lines = [line for line in text.splitlines() if line.startswith(("ExecStart=", "CMD"))]
        assert {option for line in lines for option in re.findall(r"--[a-z-]+", line)} <= known

"""The fast text of the metrics page is, byte for byte, the one of prometheus_client."""

import math

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from vswitchd.metrics import Families
from vswitchd.metrics_text import render

VALUES = [0, 1, -1, 0.5, 1e-7, 999999, 1e6, 1234567, 12345678.5, 2**53, 2**64, 1e22, 1e300, True]
LABELS = ["", "v0", 'quo"te', "back\\slash", "two\nlines", "ünï", "a" * 300, "{},="]


class Fixed:
    def __init__(self, families):
        self.families = families

    def describe(self):
        return ()

    def collect(self):
        return list(self.families)


def page(families):
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Fixed(families))
    return registry


def same(registry):
    assert render(registry, openmetrics=False) == generate_latest(registry)
    assert render(registry, openmetrics=True) == openmetrics.generate_latest(registry)


def test_the_same_bytes():
    out = Families()
    for i, value in enumerate([*VALUES, math.inf, -math.inf, math.nan]):
        out.gauge("vs_gauge", 'Of a\nkind, with a \\ and "one".', value, port=str(i))
        out.counter("vs_things_total", "Things.", abs(value), ring=str(i), port="v0")
    for label in LABELS:
        out.gauge("vs_info", "Words.", 1, zone=label, port=label)
    out.gauge("vs_up", "No labels.", 1)
    registry = page(out)
    same(registry)


@pytest.mark.parametrize("families", [[], ["vs_one"]])
def test_few_families(families):
    out = Families()
    for name in families:
        out.gauge(name, "One.", 1)
    same(page(out))

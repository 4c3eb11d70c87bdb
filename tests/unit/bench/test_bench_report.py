"""The arithmetic of reports: medians, spreads, ratios within a round, and who is missing."""

import csv
import math

from bench import report
from bench.scenario import Column

COLUMNS = (Column("mpps", "Mpps"), Column("cycles", "cycles/pkt", ".0f"), Column("unseen", "unseen"))


def samples(metric="mpps", **rounds):
    return [
        report.Sample(number, "flows", "l4 1", switch, metric, value)
        for switch, values in rounds.items()
        for number, value in enumerate(values, 1)
    ]


def test_spread_is_of_one_metric_and_leaves_out_what_was_not_measured():
    found = report.spread(samples(ours=[3.0, 1.0, math.nan, 2.0]) + samples("cycles", ours=[9.0]), "mpps")
    assert found == report.Spread(2.0, 1.0, 3.0)
    assert report.spread(samples(ours=[math.nan]), "mpps") is None


def test_a_ratio_is_the_median_of_the_rounds_ratios_not_the_ratio_of_medians():
    some = samples(ours=[2.0, 9.0, 8.0], ovs=[1.0, 3.0, 8.0])
    assert report.ratio(some, "mpps", "ours", "ovs") == 2.0
    assert math.isnan(report.ratio(some, "mpps", "ours", "bound"))


def test_a_ratio_skips_rounds_without_the_peer():
    some = samples(ours=[2.0, 9.0], ovs=[1.0])
    assert report.ratio(some, "mpps", "ours", "ovs") == 2.0


def test_the_table_has_a_line_for_each_switch_and_says_who_is_missing():
    some = samples(ours=[2.0, 4.0], ovs=[1.0, 1.0]) + samples("cycles", ours=[300.0, 500.0])
    lines = report.text(
        some, COLUMNS, {(row, "bound"): "no huge pages" for row in ("l4 1", "l4 8k")}
    ).splitlines()
    assert lines[0].split() == [
        "switch",
        "Mpps",
        "min",
        "max",
        "cycles/pkt",
        "x",
        "ovs",
        "x",
        "bound",
        "rounds",
    ]
    assert lines[1].split() == ["l4", "1", "ours", "3.00", "2.00", "4.00", "400", "3.00", "-", "2"]
    assert lines[2].split() == ["l4", "1", "ovs", "1.00", "1.00", "1.00", "-", "1.00", "-", "2"]
    assert lines[3] == "without bound: l4 1; l4 8k: no huge pages"


def test_rows_keep_the_order_in_which_they_came():
    some = [report.Sample(1, "s", row, "ours", "mpps", 1.0) for row in ("8k", "100k", "1", "8k")]
    assert list(report.rows(some)) == ["8k", "100k", "1"]


def test_csv_has_every_single_figure(tmp_path):
    some = samples(ours=[2.0, 4.0])
    report.write_csv(tmp_path / "x.csv", some)
    with (tmp_path / "x.csv").open() as file:
        assert [
            (row["round"], row["switch"], row["metric"], row["value"]) for row in csv.DictReader(file)
        ] == [
            ("1", "ours", "mpps", "2.0"),
            ("2", "ours", "mpps", "4.0"),
        ]


def test_a_row_without_the_first_column_is_compared_by_the_next_that_it_has():
    some = samples(ours=[1.0]) + [
        report.Sample(1, "flows", "start-up", switch, "cycles", value)
        for switch, value in (("ours", 30.0), ("ovs", 15.0))
    ]
    line = next(
        line for line in report.text(some, COLUMNS, {}).splitlines() if line.startswith("start-up  ours")
    )
    assert line.split() == ["start-up", "ours", "-", "-", "-", "30", "2.00", "-", "1"]

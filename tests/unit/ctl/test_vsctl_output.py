"""Output formats: one table in all of them."""

import json

import pytest

from ctl.output import Table, plain, render, to_json
from ctl.style import make_style
from ctl.vsctl import one_line
from vswitchd.config.schema import TABLES
from vswitchd.errors import UsageError

_ROWS = [["p0", 7, True, None], ["a, b", 12, False, 'q"<']]
PLAIN = plain(["name", "tag", "up", "note"], _ROWS)

EXPECTED = {
    "list": "name                : p0\ntag                 : 7\nup                  : true\nnote                : []\n"
    '\nname                : "a, b"\ntag                 : 12\nup                  : false\nnote                : "q\\"<"\n',
    "table": 'name   tag up    note\n------ --- ----- ------\np0     7   true  []\n"a, b" 12  false "q\\"<"\n',
    "csv": 'name,tag,up,note\np0,7,true,[]\n"""a, b""",12,false,"""q\\""<"""\n',
}


@pytest.mark.parametrize("form", EXPECTED)
def test_text_formats(form):
    assert render(PLAIN, make_style(form)) == EXPECTED[form]


def test_json():
    table = json.loads(render(PLAIN, make_style("json")))
    assert table["headings"] == ["name", "tag", "up", "note"]
    assert table["data"] == [["p0", 7, True, ["set", []]], ["a, b", 12, False, 'q"<']]
    assert json.loads(render(PLAIN, make_style("json", pretty=True))) == table
    assert to_json({"a": "ü"}) == '{"a":"ü"}'


def test_html_escapes():
    text = render(PLAIN, make_style("html"))
    assert "<td>&quot;q\\&quot;&lt;&quot;</td>" in text
    assert text.count("<tr>") == 3


def test_bare_and_json_cells():
    assert render(PLAIN, make_style("csv", "bare", headings=False)) == 'p0,7,true,\n"a, b",12,false,"q""<"\n'
    cells = render(PLAIN, make_style("list", "json", headings=False)).splitlines()
    assert cells[0] == '"p0"'
    assert cells[3] == '["set",[]]'


def test_maps_sets_and_uuids():
    columns = TABLES["Port"].columns
    uuid = "01234567-0123-0123-0123-0123456789ab"
    kinds = [(name, columns[name].type) for name in ("interfaces", "external_ids", "trunks")]
    table = Table(kinds, [[(uuid,), (("a b", "c"), ("d", "")), (1, 2)]])
    line = render(table, make_style("csv", headings=False))
    assert line == f'[{uuid}],"{{""a b""=c, d=""""}}","[1, 2]"\n'
    data = json.loads(render(table, make_style("json")))["data"]
    assert data == [[["uuid", uuid], ["map", [["a b", "c"], ["d", ""]]], ["set", [1, 2]]]]


def test_an_empty_table():
    empty = plain(["a", "b"], [])
    assert render(empty, make_style("list")) == ""
    assert render(empty, make_style("table")) == "a b\n- -\n"
    assert render(empty, make_style("table"), first=False) == "\na b\n- -\n"


def test_one_line():
    assert one_line("a\nb\\c\n") == "a\\nb\\\\c\n"
    assert one_line("") == "\n"


def test_unknown_formats():
    for words in (("toml", ""), ("list", "yaml")):
        with pytest.raises(UsageError):
            make_style(*words)

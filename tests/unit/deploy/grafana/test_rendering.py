"""Grafana is given boards without overlaps, that read the data source which is chosen."""

import json
from itertools import combinations
from typing import Any

import pytest

from deploy.grafana.boards import BOARDS
from deploy.grafana.boards.mail import MAIL
from deploy.grafana.boards.runbooks import RUNBOOKS
from deploy.grafana.panels import Board, Kind, Row, Unit, lines, number
from deploy.grafana.rendering import COLUMNS, DEPLOYS, places, to_json

Place = dict[str, int]


def rendered(board: Board) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(to_json(board))
    return content


def overlap(one: Place, other: Place) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or below)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_panels_are_beside_and_below_each_other(board: Board) -> None:
    found = [panel["gridPos"] for panel in rendered(board)["panels"]]
    assert len(found) == len(board.rows) + len(list(board.panels))
    assert [pair for pair in combinations(found, 2) if overlap(*pair)] == []
    assert max(place["x"] + place["w"] for place in found) <= COLUMNS


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_grafana_is_told_all_that_the_board_says(board: Board) -> None:
    made = rendered(board)
    assert (made["uid"], made["title"], made["editable"]) == (board.uid, board.title, False)
    panels = {one["id"]: one for one in made["panels"] if one["type"] != "row"}
    for panel in board.panels:
        one = panels.pop(panel.number)
        assert (one["title"], one["description"]) == (panel.title, panel.description)
        if panel.kind is Kind.WORDS:
            assert one["options"]["content"] == panel.words
            continue
        assert one["fieldConfig"]["defaults"]["unit"] == panel.unit.value
        assert [target["expr"] for target in one["targets"]] == [query.promql for query in panel.queries]
        assert {target["datasource"]["uid"] for target in one["targets"]} == {"$datasource"}
        assert len({target["refId"] for target in one["targets"]}) == len(panel.queries)
        assert len(one["links"]) == len(panel.alerts)
    assert not panels


def test_a_panel_links_to_what_to_do() -> None:
    runbooks = {panel["id"]: panel["title"] for panel in rendered(RUNBOOKS)["panels"]}
    (bounces,) = (one for one in rendered(MAIL)["panels"] if one["title"] == "Recipients that bounce (1 h)")
    (link,) = bounces["links"]
    path, _, panel = link["url"].partition("?viewPanel=")
    assert path == "/d/argosy-runbooks"
    assert runbooks[int(panel)] == "ArgosyMailBounces"


def test_what_is_chosen_at_the_top() -> None:
    chosen = {board.name: [one["name"] for one in rendered(board)["templating"]["list"]] for board in BOARDS[:-1]}
    assert chosen.pop("queue") == ["datasource", "namespace", "queue"]
    assert set(map(tuple, chosen.values())) == {("datasource", "namespace")}
    assert not rendered(RUNBOOKS).get("templating", {}).get("list")


def test_deploys_are_seen_where_there_are_metrics() -> None:
    for board in BOARDS:
        notes = rendered(board)["annotations"].get("list", [])
        assert [note["expr"] for note in notes] == ([] if board is RUNBOOKS else [DEPLOYS.promql])


def test_a_number_is_red_where_it_should_be() -> None:
    bad = number("Bad", Unit.COUNT, "x{}", "A number.", alarming_from=3)
    good = number("Good", Unit.COUNT, "x{}", "A number.", good_from=3)
    board = Board("b", "B", "A board.", (Row("R", (bad, good)),))
    steps = [
        [(step["value"], step["color"]) for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        for panel in rendered(board)["panels"][1:]
    ]
    assert steps == [[(None, "green"), (3, "red")], [(None, "red"), (3, "green")]]


def test_a_row_is_filled_before_the_next_line() -> None:
    digits = [number(str(n), Unit.COUNT, "x{}", "A number.") for n in range(7)]
    picture = lines("picture", Unit.COUNT, "A picture.")
    found = [(place.x, place.y) for _, place in places(Row("R", (*digits, picture)), 1)]
    assert found == [(0, 1), (4, 1), (8, 1), (12, 1), (16, 1), (20, 1), (0, 5), (0, 9)]

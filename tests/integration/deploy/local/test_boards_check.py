"""Of a Prometheus that watches nothing it is told which panels are empty, and which are 0 by themselves."""

from pathlib import Path

from PIL import Image

from deploy.grafana.boards import OF_THE_FLEET
from deploy.local.board_pictures import draw
from deploy.local.boards_check import answer, found
from deploy.local.monitor import watching


def test_panels_without_data_are_found(tmp_path: Path) -> None:
    with watching(tmp_path) as addresses:
        findings = list(found(addresses["prometheus"]))
        assert len(findings) == sum(len(list(board.panels)) for board in OF_THE_FLEET)
        assert {one.measured for one in findings} == {False}
        shown = {one.panel.title for one in findings if one.shows}
        assert shown == {one.panel.title for one in findings if all(query.quiet for query in one.panel.queries)}
        assert "Alerts firing" in shown
        assert "Jobs unaccounted" not in shown

        assert answer(addresses["prometheus"], "vector(7)") == [7]
        assert answer(addresses["prometheus"], "vector(0) / vector(0)") == [], "nothing of nothing"
        assert (
            answer(addresses["prometheus"], 'rate(up{namespace="$namespace",queue=~"$queue"}[$__rate_interval])')
            == []
        )

        (picture,) = draw(addresses["prometheus"], OF_THE_FLEET[:1], tmp_path / "pictures", 60)
        with Image.open(picture) as drawn:
            assert drawn.width > 500

"""The row of a worker is about its own queue, and the same for all."""

from deploy.grafana.boards.work import work_of


def test_every_query_is_of_the_one_queue() -> None:
    row = work_of("ocr")
    queries = [query.expression for panel in row.panels for query in panel.queries]
    assert len(queries) >= 5
    assert all('queue="ocr"' in query for query in queries)


def test_all_workers_have_the_same_panels() -> None:
    titles = [[panel.title for panel in work_of(queue).panels] for queue in ("ocr", "mailer")]
    assert titles[0] == titles[1]

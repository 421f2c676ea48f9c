"""The boards of Grafana, as code: what they show is checked against the metrics and against a running fleet.

`boards/` says what is on them, `panels.py` what a panel is, `rendering.py` makes Grafana's JSON of it.
"""

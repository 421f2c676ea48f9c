"""What becomes of letters."""

from deploy.grafana.boards.work import work_of
from deploy.grafana.panels import Board, Query, Row, Unit, lines, number, per_second

MAIL = Board(
    "mail",
    "Argosy: Mail",
    "Does mail arrive? Recipients by state, what relays and recipients say, and what becomes of the jobs.",
    (
        Row(
            "Recipients",
            (
                lines(
                    "Recipients by state",
                    Unit.PER_SECOND,
                    "The states that they entered; deferred ones count each time.",
                    per_second("argosy_mail_recipients_total", "state"),
                ),
                lines(
                    "Bounces and complaints",
                    Unit.PER_SECOND,
                    "Reports that came in after a letter was taken.",
                    per_second("argosy_mail_reports_total", "kind"),
                ),
                lines(
                    "Refusals by relays",
                    Unit.PER_SECOND,
                    "Of us or of a sender, not of a recipient: held, not lost.",
                    per_second("argosy_mail_relay_refusals_total", "relay, step, code", quiet=True),
                    alerts=("ArgosyRelayRefuses",),
                ),
                lines(
                    "Replies of relays",
                    Unit.PER_SECOND,
                    "The last reply to each message; `none` where the connection broke.",
                    per_second("argosy_smtp_replies_total", "relay, code"),
                    alerts=("ArgosyRelayAway",),
                ),
                lines(
                    "Connections to relays",
                    Unit.COUNT,
                    "Those that are open, and those that a sender has leased.",
                    Query("sum by (relay, state) (argosy_smtp_connections{})", "{{relay}} {{state}}"),
                ),
                number(
                    "Recipients that bounce (1 h)",
                    Unit.SHARE,
                    '(sum(increase(argosy_mail_recipients_total{state="bounced"}[1h]))'
                    ' + sum(increase(argosy_mail_reports_total{kind="bounce"}[1h])))'
                    ' / sum(increase(argosy_mail_recipients_total{state=~"bounced|sent"}[1h]))',
                    "At once or later. Providers begin to refuse a sender at about 5 %.",
                    alerts=("ArgosyMailBounces",),
                    alarming_from=0.05,
                ),
                number(
                    "Recipients that complain (24 h)",
                    Unit.SHARE,
                    'sum(increase(argosy_mail_reports_total{kind="complaint"}[24h]))'
                    ' / sum(increase(argosy_mail_recipients_total{state="sent"}[24h]))',
                    "Of those that a letter was sent to. Providers block senders from about 0.3 % on.",
                    alerts=("ArgosyMailComplaints",),
                    alarming_from=0.001,
                ),
            ),
        ),
        work_of("mailer"),
    ),
)

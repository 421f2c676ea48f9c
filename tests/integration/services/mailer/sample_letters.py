"""Letters and recipients that several tests of the mailer send."""

PLAIN = {"subject": "Tide table", "text": "High water at six.\n.hidden dot\n"}


def to(*names: str, domain: str = "example.test") -> list[dict[str, object]]:
    return [{"to": f"{name}@{domain}", "variables": {"name": name}} for name in names]

"""What a command tells its user when it cannot go on. It imports nothing, so whoever raises it stays light."""


class CannotRun(Exception):
    """Something cannot be started or done on this machine; the message says what would help."""

"""Background loops of the gateway, beside the requests."""

"""SMTP: connections to relays, the protocol dialogue, concurrency per domain, rate limits."""

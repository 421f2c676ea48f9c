"""Talking to relays: connections, the dialogue, and how fast."""

"""Sends mail, and records the delivery state of every recipient of every letter."""

"""Counts events, each exactly once, and answers questions about them."""

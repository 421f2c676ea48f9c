"""Turning a letter and a recipient into a message."""

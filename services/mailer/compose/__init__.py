"""Builds the MIME message of a letter for one recipient, and signs it."""

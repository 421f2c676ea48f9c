"""Sends mail: every recipient of every letter is accounted for."""

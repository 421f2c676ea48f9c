"""Sync: opportunities of other people's sources, mirrored, searched, and followed."""

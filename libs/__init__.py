"""Code that more than one process shares."""

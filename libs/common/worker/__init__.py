"""The runtime of every worker process."""

"""Timing, always beside a peer in the same run: machines are noisy, ratios are not."""

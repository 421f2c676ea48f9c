"""Benchmarks. Each measures a peer in the same run: times vary from run to run, ratios hardly do."""

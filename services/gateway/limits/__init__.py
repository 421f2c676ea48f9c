"""Exact rate limits that all gateways enforce together, with or without Redis.

limiter.py   one decision per request: by Redis, by this gateway's share, or by both. Read this first
policies.py  what is limited, for whom, and by how much
shared.py    the counters in Redis (take.lua, restore.lua, checkin.lua)
memory.py    what this gateway has admitted, and what is left of its share while Redis is away
outages.py   when Redis decides and when the gateways' shares do
decisions.py the decision and its header fields
"""

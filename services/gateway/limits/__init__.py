"""Rate limits: exact, decided together, the same at every gateway, with Redis and without.

policies.py  what is limited, for whom, and by how much
limiter.py   one decision for each request: by Redis, by this gateway's share, or by both. Read this first
shared.py    asking Redis (take.lua, restore.lua, checkin.lua)
memory.py    what this gateway has admitted, and what that leaves of its share while Redis is away
decisions.py the answer, and its header fields
"""

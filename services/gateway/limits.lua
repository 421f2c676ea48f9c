-- take(KEYS = {log}, ARGV = {limit, window_ms, member}) -> {admitted, remaining, reset_ms}
--
-- An exact sliding log: never more than `limit` admissions in any window of `window_ms`.
--   log   argosy:limit:<policy>:<user>   sorted set; score: admission time on Redis's own clock, in
--         microseconds (the gateways' clocks differ); member: unique to the request
-- A refused request is charged nothing. reset_ms: until the oldest admission leaves the window, which is when
-- a refused caller may come back.

local limit, window_us = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000
local clock = redis.call('TIME')
local now_us = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_us - window_us)
local used = redis.call('ZCARD', KEYS[1])
local admitted = 0
if used < limit then
  redis.call('ZADD', KEYS[1], string.format('%d', now_us), ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  used = used + 1
  admitted = 1
end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
local reset_us = oldest and (tonumber(oldest) + window_us - now_us) or 0
return {admitted, limit - used, math.ceil(reset_us / 1000)}

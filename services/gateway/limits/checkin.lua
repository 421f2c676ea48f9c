-- A gateway says that it decides by Redis, and hears which others do. Whoever does not know of a wipe yet is not heard.
--
--   KEYS  {epoch, gateways}
--   ARGV  {a new epoch, for when there is none; this gateway's id; the epoch it knows; seconds after which one is gone}
--   ->    {now in µs, epoch, (gateway, time of its last check-in in µs)…}
--
-- A Redis that was started anew, or another one that took over, may lack the last that its predecessor decided (it writes
-- its file behind the answers). So the run of the server is part of the epoch.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
redis.call('SET', KEYS[1], ARGV[1], 'NX')
local epoch = redis.call('GET', KEYS[1]) .. ':' .. string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if epoch == ARGV[3] then redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[2]) end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - tonumber(ARGV[4]) * 1000000))
local answer = {now, epoch}
for _, part in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')) do answer[#answer + 1] = part end
return answer

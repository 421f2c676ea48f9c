-- Records that a gateway uses Redis for its decisions, and returns the other gateways that do. A gateway that does not
-- know of a wipe yet (its epoch is old) is not recorded.
--
--   KEYS  {epoch, gateways}
--   ARGV  {a new epoch, used if there is none; this gateway's id; the epoch it knows; seconds until a gateway counts as gone}
--   ->    {now in µs, epoch, (gateway, time of its last check-in in µs)…}
--
-- A restarted Redis, or another one that took over, may lack the last decisions of its predecessor, because Redis writes
-- its file after it replies. So the server's run id is part of the epoch.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
redis.call('SET', KEYS[1], ARGV[1], 'NX')
local epoch = redis.call('GET', KEYS[1]) .. ':' .. string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if epoch == ARGV[3] then redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[2]) end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - tonumber(ARGV[4]) * 1000000))
local reply = {now, epoch}
for _, part in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')) do reply[#reply + 1] = part end
return reply

-- Decides the limits of many requests in one atomic step, on Redis's own clock (the gateways' clocks differ).
--
--   KEYS  {epoch, counter…}
--   ARGV  {epoch, gateway, prefix, JSON: [[[is a log, is enforced, limit, window in µs] for each counter],
--          [[requests, [position of each of its counters]] for each group]]}
--   ->    {now in µs, (granted, (remaining, µs until one more is free) for each of its counters) for each group}
--   or    {now in µs} alone if the epoch differs (see checkin.lua): the gateways must restore their admissions first
--
-- A group is a number of requests with the same counters. A request charges all of its counters or none.
-- A counter that is not enforced is not charged beyond its limit. Its `remaining` is then negative: the requests over it.
--   log      sorted set; score: time of admission in µs; member: <prefix>:<group>:<number>
--   buckets  hash; field: <number of a sixteenth of a window>:<gateway>, value: that gateway's admissions in it

local BUCKETS = 16
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if (redis.call('GET', KEYS[1]) or '') .. ':' .. run ~= ARGV[1] then return {now} end

local parameters, groups = unpack(cjson.decode(ARGV[4]))
local counters = {}
for i, of_counter in ipairs(parameters) do
  local log, enforced, limit, window = unpack(of_counter)
  local c = {key = KEYS[i + 1], log = log, enforced = enforced, limit = limit, window = window, used = 0, free = 0}
  if c.log then
    redis.call('ZREMRANGEBYSCORE', c.key, '-inf', string.format('%.0f', now - c.window))
    c.used = redis.call('ZCARD', c.key)
    local first = math.max(0, c.used - c.limit)  -- more than the limit, after it was lowered
    local oldest = c.used > 0 and redis.call('ZRANGE', c.key, first, first, 'WITHSCORES')[2]
    if oldest then c.free = tonumber(oldest) + c.window - now end
  else
    c.width = math.ceil(c.window / BUCKETS)
    c.bucket = math.floor(now / c.width)
    local oldest, stored = c.bucket - BUCKETS, redis.call('HGETALL', c.key)
    local first
    for f = 1, #stored, 2 do
      local bucket = tonumber(string.match(stored[f], '^%d+'))
      if bucket < oldest then
        redis.call('HDEL', c.key, stored[f])
      else
        c.used = c.used + tonumber(stored[f + 1])
        if not first or bucket < first then first = bucket end
      end
    end
    if first then c.free = (first + BUCKETS + 1) * c.width - now end
  end
  counters[i] = c
end

local function charge(c, amount, group)
  if amount <= 0 then return end
  if c.log then
    local added, score = {}, string.format('%.0f', now)
    for number = 0, amount - 1 do
      added[#added + 1] = score
      added[#added + 1] = ARGV[3] .. ':' .. group .. ':' .. number
    end
    redis.call('ZADD', c.key, unpack(added))
    if c.used == 0 then c.free = c.window end
  else
    redis.call('HINCRBY', c.key, string.format('%.0f', c.bucket) .. ':' .. ARGV[2], amount)
    if c.used == 0 then c.free = (c.bucket + BUCKETS + 1) * c.width - now end
  end
  c.used = c.used + amount
  redis.call('PEXPIRE', c.key, math.ceil(c.window / 1000 * (1 + 2 / BUCKETS)))
end

local reply = {now}
for group, of_group in ipairs(groups) do
  local granted, positions = unpack(of_group)
  for _, position in ipairs(positions) do
    local c = counters[position]
    if c.enforced then granted = math.max(0, math.min(granted, c.limit - c.used)) end
  end
  reply[#reply + 1] = granted
  for _, position in ipairs(positions) do
    local c = counters[position]
    local fits = math.min(granted, math.max(0, c.limit - c.used))
    charge(c, fits, group - 1)
    reply[#reply + 1] = c.limit - c.used - (granted - fits)
    reply[#reply + 1] = math.ceil(c.free)
  end
end
return reply

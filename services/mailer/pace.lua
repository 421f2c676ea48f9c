-- Decides at once whether messages may be sent, on Redis's own clock, and notes which have been.
--
--   KEYS  {counter…}
--   ARGV  {seconds after which a sender that was not heard of again is dead,
--          (what, member, how many counters, (position, limit, window in µs) for each) for each message}
--   ->    µs to wait for each message; 0: it may be sent
--
-- A counter is a sorted set of messages, by the time in µs when they stop counting: a window after they were done,
-- not after they were let go. A relay sees a message somewhere between the two; so in no window of its own does it
-- see more than the limit either.
--   what = 'take': enter it in all of its counters, or in none if one is full
--   what = 'hold': it is still on its way
--   what = 'done': from now on it counts for a window

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local dead = now + tonumber(ARGV[1]) * 1000000
local answer, at = {}, 2
while at <= #ARGV do
  local what, member, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local wait = 0
  if what == 'take' then
    for i = at + 3, at + 2 + 3 * count, 3 do
      local key = KEYS[tonumber(ARGV[i])]
      redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
      if redis.call('ZCARD', key) >= tonumber(ARGV[i + 1]) then
        local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
        wait = math.max(wait, math.min(tonumber(first) - now, tonumber(ARGV[i + 2])))
      end
    end
  end
  if wait == 0 then
    for i = at + 3, at + 2 + 3 * count, 3 do
      local key, window = KEYS[tonumber(ARGV[i])], tonumber(ARGV[i + 2])
      local ends = what == 'done' and now + window or dead + window
      redis.call('ZADD', key, string.format('%.0f', ends), member)
      redis.call('PEXPIRE', key, math.ceil((dead - now + window) / 1000))
    end
  end
  answer[#answer + 1] = math.ceil(wait)
  at = at + 3 + 3 * count
end
return answer

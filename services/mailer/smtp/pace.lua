-- Decides at once whether messages may be sent, on Redis's own clock, and notes which have been.
--
--   KEYS  {epoch, counter…}
--   ARGV  {the epoch the mailer knows; seconds after which a mailer that was not heard of again is dead; seconds in
--          which a new epoch settles;
--          (what, member, how many counters, (position, limit, window in µs) for each) for each message}
--   ->    {epoch, now in µs, µs to wait for each message; 0: it may be sent}
--   or    {epoch, now in µs} alone where the epoch is another: this Redis was wiped, started anew or replaced, and may
--         have forgotten some. The mailer must tell it what it knows; until all have had the time, nothing is sent
--
-- A counter is a sorted set of messages, by the time in µs when they stop counting: a window after they were done,
-- not after they were let go. A relay sees a message somewhere between the two; so in no window of its own does it
-- see more than the limit either.
--   what = 'take': enter it in all of its counters, or in none if one is full
--   what = 'hold': it is still on its way
--   what = 'done': from now on it counts for a window

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local epoch = redis.call('GET', KEYS[1]) or ''
if string.sub(epoch, 1, #run) ~= run then
  epoch = run .. ':' .. string.format('%.0f', now)
  redis.call('SET', KEYS[1], epoch)
end
if epoch ~= ARGV[1] then return {epoch, now} end

local dead = now + tonumber(ARGV[2]) * 1000000
local settling = tonumber(string.sub(epoch, #run + 2)) + tonumber(ARGV[3]) * 1000000 - now
local answer, at = {epoch, now}, 4
while at <= #ARGV do
  local what, member, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local first, last = at + 3, at + 2 + 3 * count
  local wait = 0
  if what == 'take' then
    wait = math.max(0, settling)
    for i = first, last, 3 do
      local key = KEYS[tonumber(ARGV[i])]
      redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
      if redis.call('ZCARD', key) >= tonumber(ARGV[i + 1]) then
        local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
        wait = math.max(wait, math.min(tonumber(oldest) - now, tonumber(ARGV[i + 2])))
      end
    end
  end
  if wait == 0 then
    for i = first, last, 3 do
      local key, window = KEYS[tonumber(ARGV[i])], tonumber(ARGV[i + 2])
      local ends = what == 'done' and now + window or dead + window
      redis.call('ZADD', key, string.format('%.0f', ends), member)
      redis.call('PEXPIRE', key, math.ceil((dead - now + window) / 1000))
    end
  end
  answer[#answer + 1] = math.ceil(wait)
  at = last + 1
end
return answer

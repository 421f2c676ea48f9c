-- Gives permits to messages atomically, on Redis's own clock, and records them.
--
--   KEYS  {epoch, counter…}
--   ARGV  {the epoch that the mailer knows; seconds without a heartbeat after which a mailer is taken for dead;
--          seconds that a new epoch takes to settle;
--          (action, member, number of counters, (position, limit, window in µs) for each counter) for each message}
--   ->    {epoch, now in µs, µs to wait for each message; 0: the permit was given}
--   or    {epoch, now in µs} alone if the epoch has changed: this Redis was wiped, restarted or replaced, and may have
--         lost permits. The mailer must report its own. No permits are given until all mailers have had time for that
--
-- A counter is a sorted set of messages. The score is the time in µs when a message stops counting: one window after
-- it ended, not one window after its permit was given. The relay receives the message between these two moments. So
-- in no window of the relay's own clock does it receive more than the limit.
--   action = 'take': add the message to all of its counters, or to none if one is full
--   action = 'hold': a heartbeat: the message is still in flight
--   action = 'done': the message has ended; it counts for one more window

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
  local action, member, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local first, last = at + 3, at + 2 + 3 * count
  local wait = 0
  if action == 'take' then
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
      local ends = action == 'done' and now + window or dead + window
      redis.call('ZADD', key, string.format('%.0f', ends), member)
      redis.call('PEXPIRE', key, math.ceil((dead - now + window) / 1000))
    end
  end
  answer[#answer + 1] = math.ceil(wait)
  at = last + 1
end
return answer

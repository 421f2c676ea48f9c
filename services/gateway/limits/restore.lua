-- Enters admissions that Redis does not know: made while it was away, or lost when it was wiped.
--
--   KEYS  {counter…}
--   ARGV  {(algorithm, window in µs, how many, (time in µs, amount, prefix, first number) for each) for each counter}
--
-- Logs take an admission once, however often it is entered. Buckets add up: enter each once.

local BUCKETS = 16
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local at = 1
for _, key in ipairs(KEYS) do
  local window, count = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local log = ARGV[at] == 'log'
  at = at + 3
  for _ = 1, count do
    local time, amount = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    if time > now - window * (1 + 1 / BUCKETS) then
      if log then
        for number = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 3]) + amount - 1 do
          redis.call('ZADD', key, ARGV[at], ARGV[at + 2] .. ':' .. number)
        end
      else
        redis.call('HINCRBY', key, string.format('%.0f', math.floor(time / math.ceil(window / BUCKETS))), amount)
      end
      redis.call('PEXPIRE', key, math.ceil(window / 1000 * (1 + 2 / BUCKETS)))
    end
    at = at + 4
  end
end
return now

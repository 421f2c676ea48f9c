-- Writes admissions that Redis does not know: made while it was away, or lost when it was wiped or restarted.
--
--   KEYS  {counter…}
--   ARGV  {gateway, whether Redis may know some of them,
--          (algorithm, window in µs, how many, (time in µs, amount, prefix, first number) for each) for each counter}
--
-- A log keeps an admission once, however often it is written. A bucket adds up, so each admission must be written once.
-- If Redis may know some, write all that the gateway knows: each bucket is then raised to at least that amount.

local BUCKETS = 16
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local gateway, knows_some = ARGV[1], ARGV[2] == '1'
local at = 3

local function enter_buckets(key, amounts)
  for field, amount in pairs(amounts) do
    local known = tonumber(redis.call('HGET', key, field) or 0)
    redis.call('HSET', key, field, knows_some and math.max(known, amount) or known + amount)
  end
end

for _, key in ipairs(KEYS) do
  local window, count = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local log, amounts, entered = ARGV[at] == 'log', {}, false
  at = at + 3
  for _ = 1, count do
    local time, amount = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    if time > now - window * (1 + 1 / BUCKETS) then
      entered = true
      if log then
        for number = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 3]) + amount - 1 do
          redis.call('ZADD', key, ARGV[at], ARGV[at + 2] .. ':' .. number)
        end
      else
        local field = string.format('%.0f', math.floor(time / math.ceil(window / BUCKETS))) .. ':' .. gateway
        amounts[field] = (amounts[field] or 0) + amount
      end
    end
    at = at + 4
  end
  enter_buckets(key, amounts)
  if entered then redis.call('PEXPIRE', key, math.ceil(window / 1000 * (1 + 2 / BUCKETS))) end
end
return now

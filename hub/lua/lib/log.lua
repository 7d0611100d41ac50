-- The log of what was sent: a row once, and what is too old leaves.
-- keys: log_index log_rows
-- args: log_ms:int

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function micros(number)  -- tostring would turn µs into 1.79e+15
  return string.format('%.0f', number)
end

-- `values`: id, µs or '' for now, row, of each. `places`: three more indexes for each, of its user, of its topic and of
-- failures; log_index where there is none. What a row replaces is left in the other indexes, where nobody misses it.
local function add(values, places)
  local ends, oldest = micros(now / 1000 + log_ms), micros(now - log_ms * 1000)
  local touched = {[log_index] = 20}
  for i = 1, #values / 3 do
    local id, us, row = values[3 * i - 2], values[3 * i - 1], values[3 * i]
    if redis.call('HSETNX', log_rows, id, row) == 1 then
      if us == '' then us = micros(now) end
      redis.call('ZADD', log_index, us, id)
      touched[log_index] = touched[log_index] + 2
      for k = 3 * i - 2, 3 * i do
        if places[k] ~= log_index then
          redis.call('ZADD', places[k], us, id)
          touched[places[k]] = (touched[places[k]] or 20) + 2
        end
      end
    end
  end
  for index, most in pairs(touched) do
    local old = redis.call('ZRANGE', index, '-inf', oldest, 'BYSCORE', 'LIMIT', 0, most)
    if #old > 0 then
      redis.call('ZREM', index, unpack(old))
      if index == log_index then redis.call('HDEL', log_rows, unpack(old)) end
    end
    redis.call('PEXPIREAT', index, ends)
  end
  redis.call('PEXPIREAT', log_rows, ends)
end

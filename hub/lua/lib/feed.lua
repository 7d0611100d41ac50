-- A feed and its log: the next cursor, exact counts, one event per change, and what leaves because it is due.
-- keys: meta log items marks active unseen unread archived dismissed expires events
-- args: handle nonce iat announced log_events:int keep_ms:int
-- Answers {'revoked'} for a user's request whose token (`iat`, '-' without one, '' not a user) is too old, and
-- {'behind', number} for a feed that does not hold yet what was announced up to the number `announced` ('' nothing).

local function digits(number)  -- tostring would turn µs into 1.79e+15
  return string.format('%.0f', number)
end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local known = redis.call('HMGET', meta, 'cursor:' .. handle, 'revoked')
if iat ~= '' and known[2] and (iat == '-' or tonumber(iat) < tonumber(known[2])) then
  return {'revoked'}
end
if announced ~= '' then
  local brought = redis.call('HGET', meta, 'announced:' .. handle) or '0'
  if tonumber(brought) < tonumber(announced) then return {'behind', brought} end
end

-- The larger of what `meta` and the log say: either may have been lost without the other.
local last = known[1] or '0'
local last_us = tonumber(string.match(last, '^%d+'))
local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if newest and tonumber(string.match(newest[1], '^%d+')) > last_us then
  last = newest[1]
  last_us = tonumber(string.match(last, '^%d+'))
end

-- The µs of the next event: it rises even if the clock steps back.
local function next_us()
  return math.max(now, last_us + 1)
end

-- Runs a command with many arguments in slices, since unpack fails near 8,000 values. The step is even.
local function bulk(command, key, values)
  for first = 1, #values, 1000 do
    redis.call(command, key, unpack(values, first, math.min(first + 999, #values)))
  end
end

-- The marks of many entries, in the order of `ids`; false where there is no such entry.
local function marks_of(ids)
  local packed = {}
  for first = 1, #ids, 1000 do
    local part = redis.call('HMGET', marks, unpack(ids, first, math.min(first + 999, #ids)))
    for i = 1, #part do packed[#packed + 1] = part[i] end
  end
  return packed
end

-- seen, read, clicked, archived, dismissed, updated (µs or ''), topic
local function unpack_marks(packed)
  return string.match(packed, '^(%d*)|(%d*)|(%d*)|(%d*)|(%d*)|(%d*)|(.*)$')
end

local function counts()
  return redis.call('ZCARD', unseen), redis.call('ZCARD', unread), redis.call('ZCARD', active)
end

-- Writes the event to the log and publishes the same bytes. Last, since an error undoes nothing.
local function append(us, kind, rest)
  local cursor = digits(us) .. '-' .. nonce
  local fresh, open, all = counts()
  local data = kind .. ' ' .. fresh .. ' ' .. open .. ' ' .. all .. ' ' .. rest
  redis.call('XADD', log, 'MAXLEN', log_events, cursor, 'prev', last, 'data', data)
  redis.call('HSET', meta, 'cursor:' .. handle, cursor)
  redis.call('SPUBLISH', events, handle .. ' ' .. cursor .. ' ' .. last .. ' ' .. data)
  last, last_us = cursor, us
end

local function remove(ids, reason)
  local us = next_us()
  for _, key in ipairs({items, marks}) do bulk('HDEL', key, ids) end
  for _, key in ipairs({active, unseen, unread, archived, dismissed, expires}) do bulk('ZREM', key, ids) end
  append(us, 'gone', reason .. ' ' .. table.concat(ids, ','))
end

-- One common expiry, so that an idle feed vanishes whole: the same moment for every key, also where the clock moves
-- within a script (Redis 7.0). `meta` stays for ever once it says `revoked`.
local ends = digits(math.floor(now / 1000) + keep_ms)
local function keep()
  for _, key in ipairs({log, items, marks, active, unseen, unread, archived, dismissed, expires}) do
    redis.call('PEXPIREAT', key, ends)
  end
  if not known[2] then redis.call('PEXPIREAT', meta, ends) end
end

-- When the next entry expires, µs as text, or '0'.
local function next_expiry()
  local soonest = redis.call('ZRANGE', expires, 0, 0, 'WITHSCORES')[2]
  return soonest and digits(tonumber(soonest)) or '0'
end

-- No answer may count an expired entry: whatever is due leaves before anything else happens.
while true do
  local due = redis.call('ZRANGEBYSCORE', expires, '-inf', digits(now), 'LIMIT', 0, 100)
  if #due == 0 then break end
  remove(due, 'expired')
end

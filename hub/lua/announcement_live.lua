-- Publish what is due, then tell all that is still to be brought into feeds, unless that is what the asker `knows`.
-- Together they are everything up to the newest number: a feed that has all of them has missed nothing.
-- uses: announcements
-- args: knows
-- returns: {'same'|'ok', released, now, next_due|'', version|'', ...(number, id, ends, channel, doc|'' withdrawn)};
--   no version: nothing was ever published

local ready = redis.call('ZRANGEBYSCORE', due, '-inf', digits(now))
for _, id in ipairs(ready) do
  redis.call('ZADD', published, next_number(), id)
  redis.call('ZREM', due, id)
end

local soonest = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
local reply = {'ok', #ready, digits(now), soonest and digits(tonumber(soonest)) or '', ''}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', ends, '(' .. digits(now), '+inf')) do
  local came, went = redis.call('ZSCORE', published, id), redis.call('ZSCORE', withdrawn, id)
  local channel, doc = string.match(redis.call('HGET', docs, id) or '', '^(%S+) (.*)$')
  if came and channel then
    local row = {digits(tonumber(went or came)), id, digits(tonumber(redis.call('ZSCORE', ends, id))), channel, went and '' or doc}
    for _, value in ipairs(row) do reply[#reply + 1] = value end
  end
end
local left = redis.call('ZRANGEBYSCORE', gone, '(' .. digits(now), '+inf', 'WITHSCORES')
for i = 1, #left, 2 do
  local number, id, channel = string.match(left[i], '^(%S+) (%S+) (%S+)$')
  for _, value in ipairs({number, id, digits(tonumber(left[i + 1])), channel, ''}) do reply[#reply + 1] = value end
end
local newest = redis.call('GET', top)
if newest then reply[5] = newest .. '-' .. #reply end
if reply[5] == knows then return {'same', reply[2], reply[3], reply[4], reply[5]} end
return reply

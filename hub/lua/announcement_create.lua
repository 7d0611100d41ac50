-- Store an announcement; it is published now, or when `publish_us` comes. It is over at `expires_us`, or after the days
-- that a feed remembers (0: none was said); of those that are over, else withdrawn, the first ones are forgotten.
-- uses: announcements once
-- args: id doc publish_us:int expires_us:int days:int ahead_days:int most:int kept:int gone_most:int
-- returns: {'ok', ...as shown} | {'recalled', answer} | {'idempotency_key_reused'} | {'past', field, start} |
--   {'far', field, start, days} | {'limit', most}

local memory = recall()
if memory then return memory end
if publish_us > 0 and publish_us <= now then return {'past', 'publish_at', 'now'} end
local DAY_US = 86400000000
if publish_us > now + ahead_days * DAY_US then return {'far', 'publish_at', 'now', tostring(ahead_days)} end
local start = math.max(publish_us, now)
if expires_us > 0 and expires_us <= start then return {'past', 'expires_at', publish_us > 0 and 'publish_at' or 'now'} end
local last = start + days * DAY_US
if expires_us > last then return {'far', 'expires_at', publish_us > 0 and 'publish_at' or 'now', tostring(days)} end
local open = redis.call('ZRANGEBYSCORE', ends, '(' .. digits(now), '+inf')
local live = 0
for _, other in ipairs(open) do
  if not redis.call('ZSCORE', withdrawn, other) then live = live + 1 end
end
if live >= most then return {'limit', tostring(most)} end
if redis.call('HLEN', docs) >= kept then
  local over = redis.call('ZRANGEBYSCORE', ends, '-inf', digits(now), 'LIMIT', 0, 1)[1]
  if not over then
    redis.call('ZREMRANGEBYSCORE', gone, '-inf', digits(now))
    over = redis.call('ZRANGE', withdrawn, 0, 0)[1]
    if not over then return {'limit', tostring(kept)} end
    if redis.call('ZCARD', gone) >= gone_most then return {'limit', tostring(kept + gone_most)} end
    local channel = string.match(redis.call('HGET', docs, over) or '', '^%S+')
    if channel and redis.call('ZSCORE', published, over) then
      local row = digits(tonumber(redis.call('ZSCORE', withdrawn, over))) .. ' ' .. over .. ' ' .. channel
      redis.call('ZADD', gone, redis.call('ZSCORE', ends, over), row)
    end
  end
  redis.call('HDEL', docs, over)
  for _, times in ipairs({index, due, published, withdrawn, ends}) do redis.call('ZREM', times, over) end
end

redis.call('HSET', docs, id, doc)
local newest = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
redis.call('ZADD', index, digits(math.max(now, tonumber(newest or 0) + 1)), id)
redis.call('ZADD', ends, digits(expires_us > 0 and expires_us or last), id)
if publish_us > 0 then
  redis.call('ZADD', due, digits(publish_us), id)
else
  redis.call('ZADD', published, next_number(), id)
end
memorize('0 ' .. id)
return show({'ok'}, id)

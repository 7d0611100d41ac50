-- Putting an entry into a feed, and remembering what it was sent with.
-- keys: source
-- args: sourced

local function put(id, body, topic, expires_us)
  local us = next_us()
  local at = digits(us)
  redis.call('HSET', items, id, body)
  redis.call('HSET', marks, id, '|||||' .. at .. '|' .. topic)
  for _, index in ipairs({active, unseen, unread}) do redis.call('ZADD', index, at, id) end
  if expires_us > 0 then redis.call('ZADD', expires, digits(expires_us), id) end
  append(us, 'entry', digits(expires_us) .. ' ' .. body)
end

local function remember_source(id)
  if sourced == '' then return end
  redis.call('SADD', source, id)
  if redis.call('SCARD', source) > cap then  -- forget those that left the feed since
    local ids = redis.call('SMEMBERS', source)
    for i, packed in ipairs(marks_of(ids)) do
      if not packed then redis.call('SREM', source, ids[i]) end
    end
  end
  redis.call('PEXPIREAT', source, ends)
end

-- Subscribe known users to a topic, which comes into being with its first one. `of`: the topics of each.
-- keys: users topics topic ...of
-- args: name most:int ...names
-- returns: {'ok', word, since_us, ...}  (a user each: new, known, unknown, or full: in `most` topics already)

local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000000 + clock[2])
local reply, created = {'ok'}, false
for i, user in ipairs(names) do
  local word, since = 'known', redis.call('ZSCORE', topic, user)
  if not redis.call('ZSCORE', users, user) then
    word = 'unknown'
  elseif not since and redis.call('ZCARD', of[i]) >= most then
    word = 'full'
  elseif not since then
    redis.call('ZADD', topic, now, user)
    redis.call('ZADD', of[i], now, name)
    word, since, created = 'new', now, true
  end
  reply[#reply + 1] = word
  reply[#reply + 1] = since and string.format('%.0f', since) or ''
end
if created then redis.call('ZADD', topics, 'NX', now, name) end
return reply

-- Subscribe known users to a topic, which comes into being with its first one. `of`: the topics of each.
-- uses: once
-- keys: users topics topic ...of
-- args: name most:int ...names
-- returns: {'ok'|'replayed', word, since_us, ...}  (a user each: new, known, unknown, or full: in `most` topics already)
--   | {'idempotency_key_reused'}  (with a key: of one user)

local memory = recall()
if memory then
  if memory[1] ~= 'recalled' then return memory end
  local word, since = string.match(memory[2], '^0 (%l+) (%d+)$')
  return {'replayed', word or 'known', since or '0'}  -- or: the whole answer is kept by now, and will be given
end

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
if reply[3] ~= '' then memorize('0 ' .. reply[2] .. ' ' .. reply[3]) end
return reply

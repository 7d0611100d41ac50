-- Put one new entry into a feed. With an idempotency key it happens once: the key is remembered here, with the
-- change. A feed over its cap loses its oldest entries in one `gone` event after the `entry`.
-- uses: feed evict
-- keys: idem source
-- args: id body topic expires_us:int idem_digest idem_ms:int sourced
-- returns: {'ok'|'replayed', id, cursor} | {'idempotency_key_reused'} | {'past'}

if idem_digest ~= '' then
  local memory = redis.call('GET', idem)
  if memory then
    local first_digest, first_id, cursor = string.match(memory, '^(%S+) (%S+) (%S+)$')
    if first_digest ~= idem_digest then return {'idempotency_key_reused'} end
    return {'replayed', first_id, cursor}
  end
end
if expires_us > 0 and expires_us <= now then return {'past'} end

local us = next_us()
local at = digits(us)
redis.call('HSET', items, id, body)
redis.call('HSET', marks, id, '|||||' .. at .. '|' .. topic)
for _, index in ipairs({active, unseen, unread}) do redis.call('ZADD', index, at, id) end
if expires_us > 0 then redis.call('ZADD', expires, digits(expires_us), id) end
append(us, 'entry', digits(expires_us) .. ' ' .. body)
local cursor = last
evict()

if sourced ~= '' then
  redis.call('SADD', source, id)
  if redis.call('SCARD', source) > cap then  -- forget those that left the feed since
    local ids = redis.call('SMEMBERS', source)
    for i, packed in ipairs(marks_of(ids)) do
      if not packed then redis.call('SREM', source, ids[i]) end
    end
  end
  redis.call('PEXPIREAT', source, ends)
end
if idem_digest ~= '' then
  redis.call('SET', idem, idem_digest .. ' ' .. id .. ' ' .. cursor, 'PX', idem_ms)
end
keep()
return {'ok', id, cursor}

-- Bring what was announced into a feed, in the order of its numbers: entries, and withdrawals of them (no body). The feed
-- remembers the last number, in the same step: whoever brings them, and however often, each comes once. Nothing is
-- done to a feed that does not hold yet what came before these (`since`); what has expired is passed over.
-- uses: feed evict put
-- args: since:int ...ops
-- returns: {'ok', number}  (the last one that the feed holds)

local field = 'announced:' .. handle
local brought = tonumber(redis.call('HGET', meta, field) or 0)
if brought < since then return {'ok', digits(brought)} end
for i = 1, #ops, 5 do
  local number, id, expires_us, topic, body = tonumber(ops[i]), ops[i + 1], tonumber(ops[i + 2]), ops[i + 3], ops[i + 4]
  if number > brought then
    local there = redis.call('HEXISTS', marks, id) == 1
    if body == '' and there then
      remove({id}, 'withdrawn')
    elseif body ~= '' and not there and expires_us > now then
      put(id, body, topic, expires_us)
      evict()
    end
    brought = number
  end
end
redis.call('HSET', meta, field, digits(brought))
keep()
return {'ok', digits(brought)}

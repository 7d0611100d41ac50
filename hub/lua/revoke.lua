-- Refuse every token of a user that was issued before now, and tell the sessions that are open.
-- uses: once
-- keys: meta events
-- returns: {'ok'|'replayed', revoked_before} | {'idempotency_key_reused'}  (seconds, rounded up)

local memory = recall()
if memory then
  if memory[1] ~= 'recalled' then return memory end
  return {'replayed', tonumber(string.match(memory[2], '^0 (%d+)$'))}
end
-- Never backwards, also when the clock is: what was refused stays refused.
local before = math.max(redis.call('TIME')[1] + 1, tonumber(redis.call('HGET', meta, 'revoked') or 0))
redis.call('HSET', meta, 'revoked', before)
redis.call('PERSIST', meta)
memorize('0 ' .. before)
redis.call('SPUBLISH', events, '! revoked ' .. before)
return {'ok', before}

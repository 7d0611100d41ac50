-- Refuse every token of a user that was issued before now, and tell the sessions that are open.
-- keys: meta events
-- returns: {'ok', revoked_before}  (seconds, rounded up)

-- Never backwards, also when the clock is: what was refused stays refused.
local before = math.max(redis.call('TIME')[1] + 1, tonumber(redis.call('HGET', meta, 'revoked') or 0))
redis.call('HSET', meta, 'revoked', before)
redis.call('PERSIST', meta)
redis.call('SPUBLISH', events, '! revoked ' .. before)
return {'ok', before}

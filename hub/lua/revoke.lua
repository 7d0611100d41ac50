-- Refuse every token of a user that was issued before now, and tell the sessions that are open.
-- keys: meta events
-- returns: {'ok', revoked_before}  (seconds, rounded up)

local before = redis.call('TIME')[1] + 1
redis.call('HSET', meta, 'revoked', before)
redis.call('PERSIST', meta)
redis.call('SPUBLISH', events, '! revoked ' .. before)
return {'ok', before}

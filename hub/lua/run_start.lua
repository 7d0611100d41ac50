-- Queue a run of a notiflow, with all it needs.
-- uses: once
-- keys: queue run
-- args: id spec recipients position most:int idem_answer
-- returns: {'ok'} | {'recalled', answer} | {'idempotency_key_reused'} | {'queue_full', tostring(most)}

local memory = recall()
if memory then return memory end
if redis.call('ZCARD', queue) >= most then return {'queue_full', tostring(most)} end
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000000 + clock[2])
redis.call('HSET', run, 'spec', spec, 'recipients', recipients, 'position', position, 'started', now)
redis.call('ZADD', queue, now, id)
memorize(idem_answer)
return {'ok'}

-- Queue a run of a notiflow, with all it needs. `chunks`: its recipients, where they are named.
-- uses: once
-- keys: queue run
-- args: id spec position most:int idem_answer ...chunks
-- returns: {'ok'} | {'recalled', answer} | {'idempotency_key_reused'} | {'queue_full', most}

local memory = recall()
if memory then return memory end
if redis.call('ZCARD', queue) >= most then return {'queue_full', tostring(most)} end
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000000 + clock[2])
redis.call('HSET', run, 'spec', spec, 'position', position, 'started', now, 'chunks', #chunks)
for i, chunk in ipairs(chunks) do redis.call('HSET', run, 'chunk:' .. (i - 1), chunk) end
redis.call('ZADD', queue, now, id)
memorize(idem_answer)
return {'ok'}

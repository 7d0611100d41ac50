-- A chunk of a run is done: log it, and let the run go on behind it; '' is behind the last one. If another hub has gone
-- on meanwhile, it logs the same.
-- uses: log
-- keys: queue run ...places
-- args: id before behind ...values
-- returns: {'ok'} | {'lost'}

if redis.call('HGET', run, 'position') ~= before then return {'lost'} end
add(values, places)
if behind == '' then
  redis.call('ZREM', queue, id)
  for i = 0, redis.call('HGET', run, 'chunks') - 1 do redis.call('HDEL', run, 'chunk:' .. i) end
  redis.call('HDEL', run, 'chunks', 'position')
  redis.call('PEXPIRE', run, log_ms)
else
  redis.call('HSET', run, 'position', behind)
  redis.call('ZADD', queue, micros(now), id)
end
return {'ok'}

-- A chunk of a run is done: log it, and let the run go on behind it; '' is behind the last one, and `spec` then what is
-- kept of it. If another hub has gone on meanwhile, it logs the same. Nothing is logged of whoever was erased since.
-- uses: log
-- keys: queue run erased ...places
-- args: id before behind spec ...values
-- returns: {'ok'} | {'lost'}

if redis.call('HGET', run, 'position') ~= before then return {'lost'} end
local started = tonumber(redis.call('HGET', run, 'started'))
local rows, indexes = {}, {}
for i = 1, #values, 3 do
  if tonumber(redis.call('ZSCORE', erased, places[i]) or 0) < started then
    for k = i, i + 2 do rows[#rows + 1], indexes[#indexes + 1] = values[k], places[k] end
  end
end
add(rows, indexes)
if behind == '' then
  redis.call('ZREM', queue, id)
  if redis.call('ZCARD', queue) == 0 then redis.call('UNLINK', erased) end
  for i = 0, redis.call('HGET', run, 'chunks') - 1 do redis.call('HDEL', run, 'chunk:' .. i) end
  redis.call('HDEL', run, 'chunks', 'position')
  redis.call('HSET', run, 'spec', spec)
  redis.call('PEXPIRE', run, log_ms)
else
  redis.call('HSET', run, 'position', behind)
  redis.call('ZADD', queue, micros(now), id)
end
return {'ok'}

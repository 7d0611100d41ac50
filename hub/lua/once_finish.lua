-- Keep the answer of a request; the first answer wins. `answers` lists those that go with their user: none where it is
-- the request's own key.
-- uses: once
-- keys: answers
-- args: answer
-- returns: {'ok'} | {'recalled', answer} | {'idempotency_key_reused'}

local memory = recall()
if memory and not (memory[2] and (string.match(memory[2], '^0 ') or string.match(memory[2], '^running '))) then
  return memory
end
memorize(answer)
if answers ~= idem then
  local now = redis.call('TIME')[1]
  redis.call('ZREMRANGEBYSCORE', answers, '-inf', now - idem_ms / 1000)
  redis.call('ZADD', answers, now, idem)
  redis.call('PEXPIRE', answers, idem_ms)
end
return {'ok'}

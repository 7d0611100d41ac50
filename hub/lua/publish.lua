-- Put one new entry into a feed. With an idempotency key it happens once: the key is remembered here, with the
-- change. An id that is in the feed already is not put there again. A feed over its cap loses its oldest entries in one
-- `gone` event after the `entry`. What was asked for at `asked_us` (0: now) does not reach a user who was erased since.
-- uses: feed evict once put
-- args: id body topic expires_us:int asked_us:int idem_answer
-- returns: {'ok', id, cursor} | {'recalled', answer} | {'known', id} | {'idempotency_key_reused'} | {'past'} |
--   {'erased'}

if asked_us > 0 and tonumber(redis.call('HGET', meta, 'erased') or 0) >= asked_us then return {'erased'} end
local memory = recall()
if memory then return memory end
if redis.call('HEXISTS', items, id) == 1 then
  memorize(idem_answer)
  return {'known', id}
end
if expires_us > 0 and expires_us <= now then return {'past'} end
put(id, body, topic, expires_us)
local cursor = last
evict()
remember_source(id)
memorize(idem_answer)
keep()
return {'ok', id, cursor}

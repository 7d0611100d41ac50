-- Forget a topic that nobody is subscribed to.
-- keys: topics topic
-- args: name
-- returns: {'ok', dropped}  (0: somebody has subscribed)

if redis.call('EXISTS', topic) == 1 then return {'ok', 0} end
return {'ok', redis.call('ZREM', topics, name)}

-- Forget rows of one user; other indexes keep their ids, which lead nowhere.
-- keys: log_index log_rows of
-- args: ...ids
-- returns: {'ok'}

redis.call('HDEL', log_rows, unpack(ids))
redis.call('ZREM', log_index, unpack(ids))
redis.call('ZREM', of, unpack(ids))
return {'ok'}

-- Count one request in the window that is running, or begin one.
-- keys: counter
-- args: window_ms:int
-- returns: {'ok', count, left_ms}

local count = redis.call('INCR', counter)
if count > 1 then return {'ok', count, redis.call('PTTL', counter)} end
redis.call('PEXPIRE', counter, window_ms)
return {'ok', count, window_ms}

-- A user is erased from now on: runs that wait were asked for before, and pass the user over (`of`: the key of the log).
-- keys: queue erased
-- args: of
-- returns: {'ok', now}

local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000000 + clock[2])
if redis.call('ZCARD', queue) > 0 then redis.call('ZADD', erased, now, of) end
return {'ok', now}

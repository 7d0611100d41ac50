-- The documents of users, '' where there is none, and the store's time: for a change that is made outside.
-- keys: profiles
-- args: ...names
-- returns: {'ok', µs, document, ...}

local clock = redis.call('TIME')
local reply = {'ok', string.format('%.0f', clock[1] * 1000000 + clock[2])}
for i, document in ipairs(redis.call('HMGET', profiles, unpack(names))) do reply[i + 2] = document or '' end
return reply

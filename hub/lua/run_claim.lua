-- Take the run that has waited longest, for as long as a chunk of it may take; a hub that dies keeps it no longer.
-- keys: queue
-- args: lease_us:int
-- returns: {'ok', id} | {'wait', µs}  (until one may be taken) | {'none'}

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
if #first == 0 then return {'none'} end
local due = tonumber(first[2])
if due > now then return {'wait', string.format('%.0f', due - now)} end
redis.call('ZADD', queue, string.format('%.0f', now + lease_us), first[1])
return {'ok', first[1]}

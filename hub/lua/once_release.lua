-- Forget a request that came to nothing, so that it may be tried again.
-- uses: once
-- returns: {'ok'}

local memory = recall()
if memory and memory[2] and string.match(memory[2], '^running ') then redis.call('DEL', idem) end
return {'ok'}

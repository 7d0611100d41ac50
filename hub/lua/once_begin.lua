-- Start a request that no single script can do, unless it was started before. Whoever started it has until `until_ms`
-- (Unix time in ms by the store's clock) to finish; then it may be done again by somebody else.
-- uses: once
-- args: running_ms:int
-- returns: {'ok'} | {'recalled', answer} | {'in_progress'} | {'idempotency_key_reused'}

local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local memory = recall()
if memory then
  local until_ms = memory[2] and string.match(memory[2], '^running (%d+)$')
  if not until_ms then return memory end
  if tonumber(until_ms) > now_ms then return {'in_progress'} end
end
memorize('running ' .. string.format('%.0f', now_ms + running_ms))
return {'ok'}

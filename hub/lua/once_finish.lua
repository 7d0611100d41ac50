-- Keep the answer of a request; the first answer wins.
-- uses: once
-- args: answer
-- returns: {'ok'} | {'recalled', answer} | {'idempotency_key_reused'}

local memory = recall()
if memory and not (memory[2] and (string.match(memory[2], '^0 ') or string.match(memory[2], '^running '))) then
  return memory
end
memorize(answer)
return {'ok'}

-- What is remembered of a request with an Idempotency-Key (docs/api.md): `<digest> <status> <body>`. Status `0` says that
-- the change is made and its answer not known yet; behind it stands what answering needs.
-- keys: idem
-- args: idem_digest idem_ms:int

-- nil where nobody has asked under this key before.
local function recall()
  if idem_digest == '' then return nil end
  local memory = redis.call('GET', idem)
  if not memory then return nil end
  local first_digest, answer = string.match(memory, '^(%S+) (.*)$')
  if first_digest ~= idem_digest then return {'idempotency_key_reused'} end
  return {'recalled', answer}
end

local function memorize(answer)
  if idem_digest ~= '' then redis.call('SET', idem, idem_digest .. ' ' .. answer, 'PX', idem_ms) end
end

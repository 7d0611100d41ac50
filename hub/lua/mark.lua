-- Mark entries by id: all of them are in the feed and each verb is applied to each, or nothing happens.
-- uses: feed once mark
-- args: ...ids
-- returns: {'ok'|'replayed', cursor, unseen, unread, total, number, ...changed}  (none of them once the log is trimmed)
--   | {'not_found', ...ids} | {'idempotency_key_reused'} | {'rate_limited', most}

local packed = marks_of(ids)
local missing = {'not_found'}
for i = 1, #ids do
  if not packed[i] then missing[#missing + 1] = ids[i] end
end
if #missing > 1 then return missing end
return apply(ids, packed)

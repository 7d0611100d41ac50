-- Some entries by id, in the order asked; all of them or the ids that are not there.
-- uses: feed list
-- args: ...ids
-- returns: {'ok', ...(id, score, body, marks)} | {'not_found', ...ids}

local rows, missing = {}, {'not_found'}
for i, packed in ipairs(marks_of(ids)) do
  if packed then
    local _, _, _, archived_at, dismissed_at, updated = unpack_marks(packed)
    local home = dismissed_at ~= '' and dismissed or archived_at ~= '' and archived or active
    rows[#rows + 1] = {ids[i], digits(tonumber(redis.call('ZSCORE', home, ids[i]) or updated)), packed}
  else
    missing[#missing + 1] = ids[i]
  end
end
if #missing > 1 then return missing end
return show({'ok'}, rows)

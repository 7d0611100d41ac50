-- Take back every entry that was sent with one source key; none is no error.
-- uses: feed
-- keys: source
-- returns: {'ok', cursor, unseen, unread, total, ...ids}

local rows = {}
local members = redis.call('SMEMBERS', source)
for i, packed in ipairs(marks_of(members)) do
  if packed then rows[#rows + 1] = members[i] end
end
table.sort(rows)  -- ids are UUIDv7: oldest first
if #rows > 0 then remove(rows, 'withdrawn') end
redis.call('DEL', source)
local fresh, open, all = counts()
local reply = {'ok', last, fresh, open, all}
for i = 1, #rows do reply[5 + i] = rows[i] end
return reply

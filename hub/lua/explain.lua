-- What stands behind each count: its newest entries, read at the same moment as the numbers.
-- uses: feed list
-- args: limit:int
-- returns: {'ok', cursor, unseen, unread, total, archived, dismissed, {...ids}, {...ids}, {...ids}, {...}}
--   the newest unseen, unread and active entries, and each of them once: ...(id, score, body, marks)

local rows, there = {}, {}
local function newest(index)
  local ids = {}
  for i, row in ipairs(walk({index}, '-inf', '+inf', true, function() return true end, limit)) do
    ids[i] = row[1]
    if not there[row[1]] then rows[#rows + 1] = row end
    there[row[1]] = true
  end
  return ids
end

local reply = {'ok', last, counts()}
for _, index in ipairs({archived, dismissed}) do reply[#reply + 1] = redis.call('ZCARD', index) end
for _, index in ipairs({unseen, unread, active}) do reply[#reply + 1] = newest(index) end
reply[#reply + 1] = show({}, rows)
return reply

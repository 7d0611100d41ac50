-- What stands behind each count: its newest entries, read at the same moment as the numbers.
-- uses: feed list
-- args: limit:int
-- returns: {'ok', cursor, unseen, unread, total, archived, dismissed, {...}, {...}, {...}}
--   the newest unseen, unread and active entries: ...(id, score, body, marks)

local function newest(index)
  return show({}, walk({index}, '-inf', '+inf', true, function() return true end, limit))
end

local fresh, open, all = counts()
local aside = {redis.call('ZCARD', archived), redis.call('ZCARD', dismissed)}
return {'ok', last, fresh, open, all, aside[1], aside[2], newest(unseen), newest(unread), newest(active)}

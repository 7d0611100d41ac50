-- How a session gets from its cursor to the top (protocol, section 5): nothing missed, the missed events, or the
-- newest page. Never a part of the events. Cursor, counts and entries belong together.
-- uses: feed list
-- args: cursor limit:int bytes:int
-- returns: {'live'|'replay'|'snapshot', cursor, unseen, unread, total, expires, ...}
--   replay: ...(cursor, prev, data)   snapshot: after|'', ...(id, score, body, marks)

local fresh, open, all = counts()
local reply = {'live', last, fresh, open, all, next_expiry()}
-- A feed may have vanished since, being idle for long, while its last cursor is still known.
if cursor == last and (last == '0' or redis.call('EXISTS', log) == 1) then return reply end

-- The log holds exactly log_events at most, so no more than that can follow; they are read only if the cursor is there.
local function missed()
  if cursor == '' then return nil end
  local from = '-'
  if #redis.call('XRANGE', log, cursor, cursor) > 0 then
    from = '(' .. cursor
  else
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    if not oldest or oldest[2][2] ~= cursor then return nil end
  end
  local events_missed = redis.call('XRANGE', log, from, '+', 'COUNT', log_events)
  local size = 0
  for _, event in ipairs(events_missed) do size = size + #event[2][4] end
  return size <= bytes and events_missed or nil
end

local replay = missed()
if replay then
  reply[1] = 'replay'
  for _, event in ipairs(replay) do
    for _, value in ipairs({event[1], event[2][2], event[2][4]}) do reply[#reply + 1] = value end
  end
  return reply
end
reply[1] = 'snapshot'
local rows = walk({active}, '-inf', '+inf', true, function() return true end, limit + 1)
reply[7] = ''
if #rows > limit then
  rows[limit + 1] = nil
  reply[7] = rows[limit][2]
end
return show(reply, rows)

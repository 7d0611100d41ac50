-- Reading entries: walking the indexes in either direction, filtered, and the rows that show an entry.

-- Up to `want` entries that pass, between two scores (exclusive bounds, '(…' or infinite), as {id, score, marks}.
local function walk(indexes, low, high, newest_first, pass, want)
  local found, step = {}, 100
  while #found < want do
    local rows = {}
    for _, index in ipairs(indexes) do
      local part
      if newest_first then
        part = redis.call('ZRANGE', index, high, low, 'BYSCORE', 'REV', 'LIMIT', 0, step, 'WITHSCORES')
      else
        part = redis.call('ZRANGE', index, low, high, 'BYSCORE', 'LIMIT', 0, step, 'WITHSCORES')
      end
      for i = 1, #part, 2 do rows[#rows + 1] = {part[i], tonumber(part[i + 1])} end
    end
    if #rows == 0 then break end
    if #indexes > 1 then
      table.sort(rows, function(a, b)
        if newest_first then return a[2] > b[2] end
        return a[2] < b[2]
      end)
    end
    local ids = {}
    for i = 1, math.min(#rows, step) do ids[i] = rows[i][1] end
    local packed = marks_of(ids)
    for i = 1, #ids do
      if packed[i] and pass(packed[i]) then
        found[#found + 1] = {ids[i], digits(rows[i][2]), packed[i]}
        if #found == want then return found end
      end
    end
    if #rows < step then break end
    local edge = '(' .. digits(rows[#ids][2])
    if newest_first then high = edge else low = edge end
  end
  return found
end

-- Adds id, score, body and marks of each entry to a reply.
local function show(reply, rows)
  if #rows == 0 then return reply end
  local ids = {}
  for i = 1, #rows do ids[i] = rows[i][1] end
  local bodies = redis.call('HMGET', items, unpack(ids))
  for i, row in ipairs(rows) do
    if bodies[i] then  -- else the store has lost it
      for _, value in ipairs({row[1], row[2], bodies[i], row[3]}) do reply[#reply + 1] = value end
    end
  end
  return reply
end

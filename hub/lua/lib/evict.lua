-- Makes room: the oldest entries of a feed that is over its cap or whose entries are over their age.
-- args: cap:int age_us:int

local function evict()
  local excess = redis.call('HLEN', items) - cap
  local over = excess > 0 and math.min(50, math.max(excess, math.ceil(cap / 10))) or 0
  local oldest = now - age_us
  local rows = {}
  for _, index in ipairs({active, archived, dismissed}) do
    local part = redis.call('ZRANGE', index, 0, math.max(over, 50) - 1, 'WITHSCORES')
    if over > 0 or (part[2] and tonumber(part[2]) < oldest) then
      for i = 1, #part, 2 do rows[#rows + 1] = {part[i], tonumber(part[i + 1])} end
    end
  end
  table.sort(rows, function(a, b) return a[2] < b[2] end)
  local ids = {}
  for i, row in ipairs(rows) do
    if i > 50 or (i > over and row[2] >= oldest) then break end
    ids[i] = row[1]
  end
  if #ids > 0 then remove(ids, 'evicted') end
end

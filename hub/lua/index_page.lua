-- A page of a sorted set of names by µs, newest first; of the same µs, the higher name first. Places are (µs, name) and
-- need not be there any more. Bounds in time are exclusive; '' where there is none.
-- keys: index
-- args: created_after created_before after_us after_name before_us before_name limit:int
-- returns: {'ok', more_before, more_after, name, us, ...}  (more_*: 1 or 0)

-- By bytes, as Redis orders members: Lua's own comparison follows the server's locale.
local function higher(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x > y end
  end
  return #a > #b
end

-- How many come before a place in the list, itself not counted, and whether it is there.
local function rank(us, name)
  local count = redis.call('ZCOUNT', index, '(' .. us, '+inf')
  for _, other in ipairs(redis.call('ZRANGE', index, us, us, 'BYSCORE', 'REV')) do
    if other == name then return count, true end
    if higher(name, other) then break end
    count = count + 1
  end
  return count, false
end

-- The ranks that the times allow, then those that the places allow.
local lowest = created_before == '' and 0 or redis.call('ZCOUNT', index, created_before, '+inf')
local highest = (created_after == '' and redis.call('ZCARD', index)
  or redis.call('ZCOUNT', index, '(' .. created_after, '+inf')) - 1
local first, last = lowest, highest
if after_us ~= '' then
  local count, there = rank(after_us, after_name)
  first = math.max(first, there and count + 1 or count)
end
if before_us ~= '' then
  last = math.min(last, rank(before_us, before_name) - 1)
  first = math.max(first, last - limit + 1)
end
last = math.min(last, first + limit - 1)
if last < first then return {'ok', 0, 0} end
local reply = {'ok', first > lowest and 1 or 0, last < highest and 1 or 0}
local rows = redis.call('ZRANGE', index, first, last, 'REV', 'WITHSCORES')
for i = 1, #rows, 2 do
  reply[#reply + 1] = rows[i]
  reply[#reply + 1] = string.format('%.0f', rows[i + 1])
end
return reply

-- One page of a feed, newest first, filtered, keyset in both directions (`after` older, `before` newer, µs).
-- `with_archived`: archived entries too, under the status that they have below.
-- uses: feed list
-- args: status with_archived topic created_after created_before after before limit:int
-- returns: {'ok', cursor, unseen, unread, total, after|'', before|'', ...(id, score, body, marks)}

local function and_archived(index)
  return with_archived == '1' and {index, archived} or {index}
end
local INDEXES = {
  [''] = and_archived(active), unseen = and_archived(unseen), seen = and_archived(unread),
  unread = and_archived(unread), read = and_archived(active), archived = {archived}, dismissed = {dismissed},
}
local function pass(packed)
  local seen, read, _, _, _, _, its_topic = unpack_marks(packed)
  if topic ~= '' and its_topic ~= topic then return false end
  if status == 'unseen' then return seen == '' end
  if status == 'seen' then return seen ~= '' and read == '' end
  if status == 'unread' then return read == '' end
  if status == 'read' then return read ~= '' end
  return true
end
local floor = created_after ~= '' and '(' .. created_after or '-inf'
local ceiling = created_before ~= '' and '(' .. created_before or '+inf'
local function older_than(score, want)
  if created_before ~= '' and tonumber(created_before) < tonumber(score) then score = created_before end
  return walk(INDEXES[status], floor, '(' .. score, true, pass, want)
end
local function newer_than(score, want)
  if created_after ~= '' and tonumber(created_after) > tonumber(score) then score = created_after end
  return walk(INDEXES[status], '(' .. score, ceiling, false, pass, want)
end

local rows, older, newer = {}, '', ''
if before ~= '' then
  local upwards = newer_than(before, limit + 1)
  local more = #upwards > limit
  for i = math.min(#upwards, limit), 1, -1 do rows[#rows + 1] = upwards[i] end
  if more then newer = rows[1][2] end
  local edge = rows[1] and rows[#rows][2] or digits(tonumber(before) + 1)
  if #older_than(edge, 1) > 0 then older = edge end
else
  rows = after ~= '' and older_than(after, limit + 1) or walk(INDEXES[status], floor, ceiling, true, pass, limit + 1)
  if #rows > limit then
    rows[limit + 1] = nil
    older = rows[limit][2]
  end
  if after ~= '' then
    local edge = rows[1] and rows[1][2] or digits(tonumber(after) - 1)
    if #newer_than(edge, 1) > 0 then newer = edge end
  end
end
local fresh, open, all = counts()
return show({'ok', last, fresh, open, all, older, newer}, rows)

-- Applying verbs to entries (protocol, section 6), and remembering a client's `op` with the change it made.
-- keys: ops memo
-- args: by verbs op digest op_ms:int ops_max:int

-- What a change did that was made before: its cursor, how many entries it changed and, while the log tells, which; the
-- counts are today's.
local function replay(cursor, number)
  local fresh, open, all = counts()
  local reply = {'replayed', cursor, fresh, open, all, tonumber(number)}
  local event = number ~= '0' and redis.call('XRANGE', log, cursor, cursor)[1]
  if event then
    for id in string.gmatch(string.match(event[2][4], '%S+$'), '[^,]+') do reply[#reply + 1] = id end
  end
  return reply
end

local function at_most_once()
  local forgotten = redis.call('ZRANGEBYSCORE', ops, '-inf', digits(now - op_ms * 1000))
  bulk('ZREM', ops, forgotten)
  bulk('HDEL', memo, forgotten)
  local memory = redis.call('HGET', memo, op)
  if not memory then
    if redis.call('ZCARD', ops) >= ops_max then return {'rate_limited', tostring(ops_max)} end
    return nil
  end
  local first_digest, cursor, number = string.match(memory, '^(%S+) (%S+) (%d+)$')
  if first_digest ~= digest then return {'idempotency_key_reused'} end
  return replay(cursor, number)
end

local function remember(cursor, number)
  memorize('0 ' .. cursor .. ' ' .. number)
  if op == '' then return end
  redis.call('ZADD', ops, digits(now), op)
  redis.call('HSET', memo, op, digest .. ' ' .. cursor .. ' ' .. number)
  redis.call('PEXPIRE', ops, op_ms)
  redis.call('PEXPIRE', memo, op_ms)
end

local RULES = {
  seen = function(m, at) if m.seen == '' then m.seen = at end end,
  archive = function(m, at) if m.dismissed == '' and m.archived == '' then m.archived = at end end,
  unarchive = function(m) if m.dismissed == '' then m.archived = '' end end,
  dismiss = function(m, at) if m.dismissed == '' then m.dismissed = at end end,
}
RULES.read = function(m, at)
  if m.read == '' then m.read = at end
  RULES.seen(m, at)
end
RULES.click = function(m, at)
  if m.clicked == '' then m.clicked = at end
  RULES.read(m, at)
end

-- Which indexes hold an entry with these marks: home, unseen, unread.
local function places(m)
  if m.dismissed ~= '' then return dismissed, false, false end
  if m.archived ~= '' then return archived, false, false end
  return active, m.seen == '', m.read == ''
end

-- Applies the verbs to entries with the given marks; answers {'ok', cursor, counts, number, ...changed ids}.
local function apply(ids, packed)
  local us = next_us()
  local at = digits(us)
  local changed, writes = {}, {}
  local add, drop = {}, {}
  for _, index in ipairs({active, unseen, unread, archived, dismissed}) do add[index], drop[index] = {}, {} end
  local function move(index, id, was, is, score)
    if was and not is then table.insert(drop[index], id) end
    if is and not was then
      table.insert(add[index], score())
      table.insert(add[index], id)
    end
  end
  for i, id in ipairs(ids) do
    local m, topic = {}, nil
    m.seen, m.read, m.clicked, m.archived, m.dismissed, m.updated, topic = unpack_marks(packed[i])
    local home, is_unseen, is_unread = places(m)
    local before = table.concat({m.seen, m.read, m.clicked, m.archived, m.dismissed}, '|')
    for verb in string.gmatch(verbs, '[^,]+') do RULES[verb](m, at) end
    local after = table.concat({m.seen, m.read, m.clicked, m.archived, m.dismissed}, '|')
    if after ~= before then
      changed[#changed + 1] = id
      writes[#writes + 1] = id
      writes[#writes + 1] = after .. '|' .. at .. '|' .. topic
      local place
      local function score()
        place = place or redis.call('ZSCORE', home, id) or m.updated  -- an index may be lost; nothing may fail below
        return place
      end
      local new_home, now_unseen, now_unread = places(m)
      if new_home ~= home then
        move(new_home, id, false, true, score)
        move(home, id, true, false, score)
      end
      move(unseen, id, is_unseen, now_unseen, score)
      move(unread, id, is_unread, now_unread, score)
    end
  end
  if #changed > 0 then
    bulk('HSET', marks, writes)
    for index, values in pairs(add) do bulk('ZADD', index, values) end
    for index, values in pairs(drop) do bulk('ZREM', index, values) end
    append(us, 'state', by .. ' ' .. verbs .. ' ' .. table.concat(changed, ','))
    keep()
  end
  remember(last, #changed)
  local fresh, open, all = counts()
  local reply = {'ok', last, fresh, open, all, #changed}
  for i = 1, #changed do reply[6 + i] = changed[i] end
  return reply
end

local memory = recall()
if memory then
  if memory[1] ~= 'recalled' then return memory end
  local cursor, number = string.match(memory[2], '^0 (%S+) (%d+)$')
  return replay(cursor or last, number or '0')
end
if op ~= '' then
  local answer = at_most_once()
  if answer then return answer end
end

-- Mark every active entry whose `entry` event is at or before a cursor, '' for the feed's last. What arrived later is
-- spared.
-- uses: feed once mark
-- args: upto topic
-- returns: as mark.lua | {'unknown_cursor'}

if upto == '' then upto = last end
local upto_us = tonumber(string.match(upto, '^%d+'))
if upto ~= '0' and upto ~= last then
  if upto_us >= last_us then return {'unknown_cursor'} end
  local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  if oldest and upto_us >= tonumber(string.match(oldest[1], '^%d+')) and #redis.call('XRANGE', log, upto, upto) == 0 then
    return {'unknown_cursor'}
  end
end

local ids = redis.call('ZRANGEBYSCORE', active, '-inf', digits(upto_us))
local packed = marks_of(ids)
if topic ~= '' then
  local chosen, marks_chosen = {}, {}
  for i = 1, #ids do
    if select(7, unpack_marks(packed[i])) == topic then
      chosen[#chosen + 1], marks_chosen[#marks_chosen + 1] = ids[i], packed[i]
    end
  end
  ids, packed = chosen, marks_chosen
end
return apply(ids, packed)

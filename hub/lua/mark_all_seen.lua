-- Mark everything in the feed that is neither seen nor dismissed, archived entries too (seed 1's sibling page).
-- uses: feed once mark
-- returns: as mark.lua

local fresh, packed = {}, {}
for _, index in ipairs({unseen, archived}) do
  local ids = redis.call('ZRANGE', index, 0, -1)
  for i, marks_now in ipairs(marks_of(ids)) do
    if marks_now and unpack_marks(marks_now) == '' then
      fresh[#fresh + 1], packed[#packed + 1] = ids[i], marks_now
    end
  end
end
return apply(fresh, packed)

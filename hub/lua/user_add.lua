-- Put the documents of users who are not known yet; the others stay as they are. For a run that was stored at `started_us`
-- (0: none) whoever was erased since is nobody, and so is everybody when the run has gone on from `position`.
-- `rows`: name, key of the log, document or '' for one who is known, name, ...
-- keys: users profiles erased run
-- args: created_us started_us:int position ...rows
-- returns: {'ok', document|'' nobody, ...}  (as they are now, in the order of the names)

local lost = started_us > 0 and redis.call('HGET', run, 'position') ~= position
local reply = {'ok'}
for i = 1, #rows, 3 do
  local name, of, document = rows[i], rows[i + 1], rows[i + 2]
  local gone = started_us > 0 and tonumber(redis.call('ZSCORE', erased, of) or 0) >= started_us
  if lost or gone then
    reply[#reply + 1] = ''
  else
    if document ~= '' and redis.call('HSETNX', profiles, name, document) == 1 then
      redis.call('ZADD', users, created_us, name)
    end
    reply[#reply + 1] = redis.call('HGET', profiles, name) or ''
  end
end
return reply

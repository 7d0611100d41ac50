-- Put the documents of users who are not known yet; the others stay as they are. `rows`: name, document, name, ...
-- keys: users profiles
-- args: created_us ...rows
-- returns: {'ok', document, ...}  (as they are now, in the order of the names)

local reply = {'ok'}
for i = 1, #rows, 2 do
  local name = rows[i]
  if redis.call('HSETNX', profiles, name, rows[i + 1]) == 1 then redis.call('ZADD', users, created_us, name) end
  reply[#reply + 1] = redis.call('HGET', profiles, name)
end
return reply

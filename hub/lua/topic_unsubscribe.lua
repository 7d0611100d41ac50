-- Take users out of a topic, which stays. `of`: the topics of each.
-- keys: users topic ...of
-- args: name ...names
-- returns: {'ok', word, since_us, ...}  (a user each: gone, unknown, or none: was not subscribed)

local reply = {'ok'}
for i, user in ipairs(names) do
  local word, since = 'gone', redis.call('ZSCORE', topic, user)
  if since then
    redis.call('ZREM', topic, user)
    redis.call('ZREM', of[i], name)
  else
    word = redis.call('ZSCORE', users, user) and 'none' or 'unknown'
  end
  reply[#reply + 1] = word
  reply[#reply + 1] = since and string.format('%.0f', since) or ''
end
return reply

-- Take a user out of the directory and out of every topic; `names` are all of the user's topics.
-- keys: users profiles topics_of ...topics
-- args: user ...names
-- returns: {'ok', was_known} | {'changed'}  (the user's topics are others by now)

if redis.call('ZCARD', topics_of) ~= #names then return {'changed'} end
for _, name in ipairs(names) do
  if not redis.call('ZSCORE', topics_of, name) then return {'changed'} end
end
for _, topic in ipairs(topics) do redis.call('ZREM', topic, user) end
redis.call('UNLINK', topics_of)
redis.call('ZREM', users, user)
return {'ok', redis.call('HDEL', profiles, user)}

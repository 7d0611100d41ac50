-- Put a user's document in place of the one that it was made from; '' where there was none.
-- keys: users profiles
-- args: name before document created_us
-- returns: {'ok'} | {'changed'}

if (redis.call('HGET', profiles, name) or '') ~= before then return {'changed'} end
redis.call('HSET', profiles, name, document)
redis.call('ZADD', users, 'NX', created_us, name)
return {'ok'}

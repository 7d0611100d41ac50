-- Remove a feed with its log, whatever its age, and what the user's clients have asked for. What `meta` says of revoked
-- tokens stays, and since when (`erased_us`, 0: never) the user is erased.
-- keys: meta log items marks active unseen unread archived dismissed expires ops memo
-- args: handle erased_us:int
-- returns: {'ok'}

redis.call('UNLINK', log, items, marks, active, unseen, unread, archived, dismissed, expires, ops, memo)
redis.call('HDEL', meta, 'cursor:' .. handle, 'announced:' .. handle)
if erased_us > 0 then redis.call('HSET', meta, 'erased', string.format('%.0f', erased_us)) end
return {'ok'}

-- Remove a feed with its log, whatever its age, and what the user's clients have asked for. What `meta` says of revoked
-- tokens stays.
-- keys: meta log items marks active unseen unread archived dismissed expires ops memo
-- args: handle
-- returns: {'ok'}

redis.call('UNLINK', log, items, marks, active, unseen, unread, archived, dismissed, expires, ops, memo)
redis.call('HDEL', meta, 'cursor:' .. handle, 'announced:' .. handle)
return {'ok'}

-- Take one entry back.
-- uses: feed
-- args: id
-- returns: {'ok', cursor, unseen, unread, total, id} | {'not_found', id}

if redis.call('HEXISTS', marks, id) == 0 then return {'not_found', id} end
remove({id}, 'withdrawn')
local fresh, open, all = counts()
return {'ok', last, fresh, open, all, id}

-- Take an announcement back: out of every feed that holds it, and of those to come. What is over already stays as it is.
-- uses: announcements
-- args: id
-- returns: {'ok', ...as shown} | {'ok'}  (nothing of that id)

local was = status(id)
if redis.call('HEXISTS', docs, id) == 1 and (was == 'scheduled' or was == 'published') then
  redis.call('ZREM', due, id)
  redis.call('ZADD', withdrawn, next_number(), id)
end
return show({'ok'}, id)

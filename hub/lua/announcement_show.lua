-- Some announcements by id, as they are now; those that are not there are left out.
-- uses: announcements
-- args: ...ids
-- returns: {'ok', ...as shown}

local reply = {'ok'}
for _, id in ipairs(ids) do show(reply, id) end
return reply

-- The counts of a feed, and the cursor that they belong to.
-- uses: feed
-- returns: {'ok', cursor, unseen, unread, total}

return {'ok', last, counts()}

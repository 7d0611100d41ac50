-- Take out what is due: expired entries, and the oldest of a feed over its cap or age.
-- uses: feed evict
-- returns: {'ok', cursor, expires}

evict()
return {'ok', last, next_expiry()}

-- Log what was sent.
-- uses: log
-- keys: ...places
-- args: ...values
-- returns: {'ok'}

add(values, places)
return {'ok'}

-- What was answered to a request before.
-- uses: once
-- returns: {'ok'} | {'recalled', answer} | {'idempotency_key_reused'}

return recall() or {'ok'}

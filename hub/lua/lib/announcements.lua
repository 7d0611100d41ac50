-- What a project has announced. `docs` holds each announcement (`<channel> <JSON>`), and these sorted sets when (µs) it
-- was made (`index`), is to be published (`due`, while it is not), was `published`, was `withdrawn`, is over (`ends`).
-- Of a withdrawn one that is forgotten `gone` keeps what feeds need, until it is over: `<number> <id> <channel>`.
-- keys: docs index due published withdrawn ends gone top

local function digits(number)  -- tostring would turn µs into 1.79e+15
  return string.format('%.0f', number)
end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

-- The number of a publication or a withdrawal, which orders them for every feed: its µs by this clock, the only one that
-- decides, but always more than the last one, which `top` holds. After a loss it goes on above what feeds have seen.
local function next_number()
  local number = digits(math.max(now, tonumber(redis.call('GET', top) or 0) + 1))
  redis.call('SET', top, number)
  return number
end

local function status(id)
  if redis.call('ZSCORE', withdrawn, id) then return 'withdrawn' end
  if tonumber(redis.call('ZSCORE', ends, id) or 0) <= now then return 'expired' end
  return redis.call('ZSCORE', published, id) and 'published' or 'scheduled'
end

-- Adds an announcement to a reply: id, doc, status, made, publish_at|'', published|'', withdrawn|'', ends.
local function show(reply, id)
  local doc = redis.call('HGET', docs, id)
  if not doc then return reply end
  reply[#reply + 1] = id
  reply[#reply + 1] = doc
  reply[#reply + 1] = status(id)
  for _, times in ipairs({index, due, published, withdrawn, ends}) do
    local at = redis.call('ZSCORE', times, id)
    reply[#reply + 1] = at and digits(tonumber(at)) or ''
  end
  return reply
end

-- Writes sessions over what they were made from, and over nothing else.
--   KEYS  theirs
--   ARGV  four for each:
--     what stands there: 'text' or 'digest' (SHA-1 in hex) of what it was made from follows, or 'any'; with a '+' before
--       it, the session is written also where nothing stands
--     that text or digest
--     the session's text
--     its life in milliseconds; empty without end
-- Returns for each: 1 when it was written, the stored text when that is another, and false when the session is gone.
-- Without keys it does nothing: so it is brought to Redis.
-- It ends with a read: a write ends the tracking of a key, and only a read in the same step resumes it without a gap.
if #KEYS == 0 then
  return {}
end
local replies = {}
local texts = redis.call('MGET', unpack(KEYS))
-- A session may come twice.
local written = {}
for at, key in ipairs(KEYS) do
  local base, expected, text, life = unpack(ARGV, 4 * at - 3, 4 * at)
  local stored = written[key] or texts[at]
  local may_create = string.byte(base) == 43
  if stored == '' or (not stored and not may_create) then
    replies[at] = false
  elseif stored and (
    ((base == 'text' or base == '+text') and stored ~= expected)
    or ((base == 'digest' or base == '+digest') and redis.sha1hex(stored) ~= expected)
  ) then
    replies[at] = stored
  else
    if life == '' then
      redis.call('SET', key, text)
    else
      redis.call('PSETEX', key, life, text)
    end
    written[key] = text
    replies[at] = 1
  end
end
redis.call('EXISTS', unpack(KEYS))
return replies

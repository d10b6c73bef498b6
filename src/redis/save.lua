-- Writes a session over what it was made from, and over nothing else.
--   KEYS[1]  its key
--   ARGV[1]  SHA-1 of the text that it was made from, in hex; empty for any text
--   ARGV[2]  its text
--   ARGV[3]  its life in milliseconds; empty without end
--   ARGV[4]  '1' when it may also be new
-- Returns 1 when it was written, the stored text when that is another, and nil when the session is gone.
-- It ends with a read: a write ends the tracking of a key, and only a read in the same step resumes it without a gap.
local stored = redis.call('GET', KEYS[1])
if stored == '' or (not stored and ARGV[4] ~= '1') then
  return false
end
if stored and ARGV[1] ~= '' and redis.sha1hex(stored) ~= ARGV[1] then
  return stored
end
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
redis.call('PTTL', KEYS[1])
return 1

-- KEYS[1]   sorted set celebrities
-- ARGV[1]   the cursor of the previous answer, or 0 to begin
-- ARGV[2]   about how many members to return; a set that is not larger is returned whole
-- ARGV[3]   how many members the set may have
-- Returns   the marker, the next cursor (0 at the end), and members with their scores; nil if the
--           set is absent, being built, or too large
-- Invariant an author that is in the set from the first call to the last one is in an answer
local marker = redis.call('ZRANGEBYSCORE', KEYS[1], 'inf', 'inf')[1]
local size = redis.call('ZCARD', KEYS[1])
if not marker or string.sub(marker, 1, 1) ~= 'v' or size > tonumber(ARGV[3]) then
  return false
end
if size <= tonumber(ARGV[2]) then
  return {marker, '0', redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')}
end
local scanned = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
return {marker, scanned[1], scanned[2]}

-- KEYS[1]   sorted set celebrities
-- ARGV[1]   the score up to which the caller has the members; -inf to begin
-- ARGV[2]   about how many members to return: all members of the last score are among them
-- ARGV[3]   how many members the set may have
-- Returns   the marker, the score up to which the caller then has the members (inf at the end), and
--           members; nil if the set is absent, being built, or too large
-- Invariant an author that is in the set from the first call to the last one is in an answer. The
--           order is that of the scores, and a put only raises a score. So it is the same on each
--           server. That of ZSCAN is not, and a cluster may move the set between two calls.
local marker = redis.call('ZRANGEBYSCORE', KEYS[1], 'inf', 'inf')[1]
local size = redis.call('ZCARD', KEYS[1])
if not marker or string.sub(marker, 1, 1) ~= 'v' or size > tonumber(ARGV[3]) then
  return false
end
local from = '(' .. ARGV[1]
local last = redis.call(
  'ZRANGEBYSCORE', KEYS[1], from, 'inf', 'WITHSCORES', 'LIMIT', ARGV[2] - 1, 1)
local up_to = last[2] or 'inf'
return {marker, up_to, redis.call('ZRANGEBYSCORE', KEYS[1], from, up_to)}

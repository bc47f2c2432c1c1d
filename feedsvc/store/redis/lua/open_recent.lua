-- KEYS[1]   sorted set recent-celebrity-posts
-- ARGV[1]   a fresh marker, for a set that is absent
-- Returns   its marker, and the number of the latest put
-- Invariant whoever reads a list after this needs to be told only of puts with a higher number
begin_recent(KEYS[1], ARGV[1])
-- A server may write 1.764e+15.
local number = string.format('%.0f', redis.call('ZSCORE', KEYS[1], 'puts'))
return {redis.call('ZRANGEBYSCORE', KEYS[1], 'inf', 'inf')[1], number}

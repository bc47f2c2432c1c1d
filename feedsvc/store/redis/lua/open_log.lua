-- KEYS[1]   sorted set recent-celebrity-posts: the invalidation log
-- ARGV[1]   a fresh marker, used if the log is absent
-- Returns   the marker of the log, and the number of its latest entry
-- Invariant a process that reads lists after this call needs only the entries with a higher number
begin_set(KEYS[1], ARGV[1])
-- A server may write the number as 1.764e+15.
local number = string.format('%.0f', redis.call('ZSCORE', KEYS[1], 'puts'))
return {redis.call('ZRANGEBYSCORE', KEYS[1], 'inf', 'inf')[1], number}

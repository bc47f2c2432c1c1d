-- KEYS[1]   sorted set recent-celebrity-posts: the invalidation log
-- ARGV[1]   a fresh marker, used if the log is absent
-- Returns   the marker of the log, and the number of its latest entry
-- Invariant if a process reads lists after this call, later changes of the lists have a higher
--           number
begin_set(KEYS[1], ARGV[1])
-- Redis may return the score as 1.764e+15. '%.0f' writes all digits.
local number = string.format('%.0f', redis.call('ZSCORE', KEYS[1], 'puts'))
return {redis.call('ZRANGEBYSCORE', KEYS[1], 'inf', 'inf')[1], number}

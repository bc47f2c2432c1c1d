-- KEYS[1]   sorted set recent-celebrity-posts: the invalidation log. 'number:author:post' has its
--           number as score, 'puts' the latest number, and the marker 'inf'
-- ARGV[1]   the author; 0 if a post was edited or deleted
-- ARGV[2]   the post; 0 if the whole list was rebuilt, or if any posts were edited or deleted
-- ARGV[3]   a fresh marker, used if the log is absent
-- ARGV[4]   how many entries the log has at most
-- Returns   nothing
-- Invariant numbers have no gaps: a process that finds the number after its own has missed nothing
begin_set(KEYS[1], ARGV[3])
-- A server may write the number as 1.764e+15.
local number = string.format('%.0f', redis.call('ZINCRBY', KEYS[1], 1, 'puts'))
redis.call('ZADD', KEYS[1], number, number .. ':' .. ARGV[1] .. ':' .. ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -3 - ARGV[4])
return false

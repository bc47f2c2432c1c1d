-- KEYS[1]   sorted set recent-celebrity-posts: 'number:author:post' -> its number; 'puts' -> the latest number; one marker -> inf
-- ARGV[1]   the author; 0 for a post that was edited or deleted
-- ARGV[2]   the post; 0 if the list was made anew, or any posts were edited or deleted
-- ARGV[3]   a fresh marker, for a set that is absent
-- ARGV[4]   how many puts the set keeps
-- Returns   nothing
-- Invariant numbers have no gaps: who finds the next one after its own has missed nothing
begin_recent(KEYS[1], ARGV[3])
-- A server may write 1.764e+15.
local number = string.format('%.0f', redis.call('ZINCRBY', KEYS[1], 1, 'puts'))
redis.call('ZADD', KEYS[1], number, number .. ':' .. ARGV[1] .. ':' .. ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -3 - ARGV[4])
return false

-- KEYS[1]   sorted set recent-celebrity-posts: the invalidation log. An entry 'number:author:post'
--           has its number as score. The member 'puts' has the latest number as score. The member
--           that is the marker has the score 'inf'.
-- ARGV[1]   the kind of the entry: an author, if a post was put on its list; 0 if posts were edited
--           or deleted; -1 if an account is hidden with all its posts; -2 if it is not any more
-- ARGV[2]   the post; the account, for the kinds -1 and -2. The post 0 with an author: its whole
--           list was rebuilt. The post 0 with the kind 0: more posts changed than the log names.
-- ARGV[3]   a fresh marker, used if the log is absent
-- ARGV[4]   how many entries the log has at most
-- Returns   nothing
-- Invariant numbers have no gaps. If the first entry that a process gets is one after the last that
--           it has applied, the process has missed no entry.
begin_set(KEYS[1], ARGV[3])
-- Redis may return the score as 1.764e+15. '%.0f' writes all digits.
local number = string.format('%.0f', redis.call('ZINCRBY', KEYS[1], 1, 'puts'))
redis.call('ZADD', KEYS[1], number, number .. ':' .. ARGV[1] .. ':' .. ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -3 - ARGV[4])
return false

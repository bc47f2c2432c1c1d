-- KEYS[1]   sorted set celebrities. An author has the number of its latest put as score. The member
--           'puts' has the latest number as score. The member that is the marker has the score
--           'inf'.
-- ARGV[1]   the author
-- ARGV[2]   a building marker, used if the set is absent
-- Returns   nothing
-- Invariant each put gives the author a new number, so remove_author.lua sees that the author was
--           put again
begin_set(KEYS[1], ARGV[2])
local number = redis.call('ZINCRBY', KEYS[1], 1, 'puts')
redis.call('ZADD', KEYS[1], number, ARGV[1])
return false

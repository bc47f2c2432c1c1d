-- KEYS[1]   sorted set celebrities: author -> number of its latest put; 'puts' -> the latest number; one marker -> inf
-- ARGV[1]   the author
-- ARGV[2]   the building marker to set if the set is absent
-- Returns   nothing
-- Invariant numbers only grow, also over a lost set (they start from the clock), so that a copy can ask for what is newer
if redis.call('EXISTS', KEYS[1]) == 0 then
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[1], time[1] .. string.format('%06d', time[2]), 'puts', 'inf', ARGV[2])
end
local number = redis.call('ZINCRBY', KEYS[1], 1, 'puts')
redis.call('ZADD', KEYS[1], number, ARGV[1])
return false

-- KEYS[1]   sorted set celebrities
-- ARGV[1]   the building marker to set if the set is absent
-- Returns   the building marker that stands now; nil if the set is valid
-- Invariant puts land from here on, before the builder reads SQL
if redis.call('EXISTS', KEYS[1]) == 0 then
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[1], time[1] .. string.format('%06d', time[2]), 'puts', 'inf', ARGV[1])
end
local marker = redis.call('ZRANGEBYSCORE', KEYS[1], 'inf', 'inf')[1]
if string.sub(marker, 1, 1) == 'b' then
  return marker
end
return false

-- Library: concatenated before the scripts that write a numbered sorted set. Defines
-- begin_set(key, marker).
-- KEYS      none: the calling script passes the key
-- ARGV      none: the calling script passes a fresh marker
-- Returns   nothing. After the call the set exists. The member 'puts' has the latest number as its
--           score. The member that is the marker has the score 'inf'.
-- Invariant numbers only grow, even after the set was lost, because a new set counts from the clock
local function begin_set(key, marker)
  if redis.call('EXISTS', key) == 0 then
    local time = redis.call('TIME')
    redis.call('ZADD', key, time[1] .. string.format('%06d', time[2]), 'puts', 'inf', marker)
  end
end

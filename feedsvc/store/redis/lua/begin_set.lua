-- A part, put in front of the scripts that write a numbered sorted set.
-- KEYS      none of its own: begin_set(key, marker) takes the key
-- ARGV      none of its own
-- Returns   nothing; the set exists: 'puts' has the latest number as its score, the marker 'inf'
-- Invariant numbers only grow, even after the set was lost, because a new set counts from the
--           clock; no marker is used twice
local function begin_set(key, marker)
  if redis.call('EXISTS', key) == 0 then
    local time = redis.call('TIME')
    redis.call('ZADD', key, time[1] .. string.format('%06d', time[2]), 'puts', 'inf', marker)
  end
end

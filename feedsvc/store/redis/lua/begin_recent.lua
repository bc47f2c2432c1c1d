-- A part, put in front of the scripts that need the set.
-- KEYS      none of its own: begin_recent(key, marker) takes the set
-- ARGV      none of its own
-- Returns   nothing; the set exists, with no put in it if it was absent
-- Invariant numbers only grow, also over a lost set (they start from the clock); a marker is never used twice
local function begin_recent(key, marker)
  if redis.call('EXISTS', key) == 0 then
    local time = redis.call('TIME')
    redis.call('ZADD', key, time[1] .. string.format('%06d', time[2]), 'puts', 'inf', marker)
  end
end

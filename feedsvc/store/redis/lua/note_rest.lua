-- KEYS[1]   list homefeed:<viewer>
-- ARGV[1]   the marker that it had when it was read whole
-- ARGV[2]   the same marker, with what was seen: how many of its last elements were looked at, and the highest id among them
-- Returns   nothing
-- Invariant a marker is of one list between two trims: while it stands there were only pushes, and what was seen is true
if redis.call('LINDEX', KEYS[1], -1) == ARGV[1] then
  redis.call('LSET', KEYS[1], -1, ARGV[2])
end
return false

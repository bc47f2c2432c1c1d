-- KEYS[1]   list homefeed:<viewer>
-- ARGV[1]   the marker of the list when it was read whole
-- ARGV[2]   the same marker with a tail hint
-- Returns   nothing
-- Invariant if the marker is unchanged, the list has only grown at its head since. So the hint
--           about its tail is still true.
if redis.call('LINDEX', KEYS[1], -1) == ARGV[1] then
  redis.call('LSET', KEYS[1], -1, ARGV[2])
end
return false

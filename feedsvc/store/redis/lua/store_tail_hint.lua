-- KEYS[1]   list homefeed:<viewer>
-- ARGV[1]   the marker of the list when it was read whole
-- ARGV[2]   the same marker with a tail hint
-- Returns   nothing
-- Invariant while a list has the same marker, it had only pushes: the tail hint is still true
if redis.call('LINDEX', KEYS[1], -1) == ARGV[1] then
  redis.call('LSET', KEYS[1], -1, ARGV[2])
end
return false

-- KEYS[1]   string: a leased view
-- ARGV[1]   the lease that the builder holds, as it stands in the view
-- ARGV[2]   the value to store
-- ARGV[3]   seconds until the view expires
-- Returns   1 if stored, 0 if the lease no longer stands
-- Invariant a view holds a value only if nothing was changed between its lease and its value
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1

-- KEYS[1]   string: a leased view
-- ARGV[1]   the lease that the view had before the builder read SQL
-- ARGV[2]   the value to store
-- ARGV[3]   seconds until the view expires
-- Returns   1 if the value was stored, 0 if the view has no lease or another one
-- Invariant a view gets a value only if nothing was changed since its lease was taken
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1

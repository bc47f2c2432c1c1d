-- KEYS[1]   string: a leased view
-- ARGV[1]   the lease that the view had before the builder read SQL
-- Returns   nothing
-- Invariant only the lease itself is deleted, never a value or a later lease
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return false

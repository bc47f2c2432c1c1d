-- KEYS[1]   sorted set celebrities
-- ARGV[1]   the building marker that the set had before the builder read SQL
-- ARGV[2]   the set's next marker: that of the valid set, or ARGV[1] if more authors follow
-- ARGV[3..] authors that SQL has
-- Returns   1 if the set has the next marker now, 0 if it had another marker
-- Invariant an author that an upload put into the set since then keeps the number of that put
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
local number = redis.call('ZINCRBY', KEYS[1], 1, 'puts')
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[1], 'NX', number, ARGV[i])
end
redis.call('ZADD', KEYS[1], 'inf', ARGV[2])
return 1

-- KEYS[1]   sorted set celebrities
-- ARGV[1]   the building marker that the set had before the builder read SQL
-- ARGV[2]   the marker of the valid set
-- ARGV[3..] the authors that SQL has
-- Returns   1 if the set is valid now, 0 if it has another marker
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

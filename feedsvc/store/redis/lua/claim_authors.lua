-- KEYS[1]   sorted set celebrities
-- ARGV[1]   a fresh building marker
-- Returns   1 if the caller has to fill the set under this marker: the set was absent, or an upload
--           began it and no reader has claimed it yet; 0 otherwise
-- Invariant only the first caller fills the set, so many readers that find it absent read SQL once
begin_set(KEYS[1], ARGV[1])
local marker = redis.call('ZRANGEBYSCORE', KEYS[1], 'inf', 'inf')[1]
if string.sub(marker, 1, 2) == 'b?' then
  redis.call('ZREM', KEYS[1], marker)
  redis.call('ZADD', KEYS[1], 'inf', ARGV[1])
  return 1
end
return marker == ARGV[1] and 1 or 0

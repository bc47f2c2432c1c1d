-- KEYS[1]   sorted set celebrities
-- ARGV[1]   a building marker, used if the set is absent
-- Returns   the building marker of the set; nil if the set is valid
-- Invariant the set exists before the builder reads SQL, so it receives every put that this SQL
--           read may miss
begin_set(KEYS[1], ARGV[1])
local marker = redis.call('ZRANGEBYSCORE', KEYS[1], 'inf', 'inf')[1]
if string.sub(marker, 1, 1) == 'b' then
  return marker
end
return false

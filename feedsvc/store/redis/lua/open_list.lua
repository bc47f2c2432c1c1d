-- KEYS[1]   list of ids, the latest push first. Its last element is its marker: 'f' and a floor if
--           the list is valid, 'b' and a token while it is being built
-- ARGV[1]   the building marker to set if the list is absent
-- ARGV[2]   seconds until the list expires, if this call creates it
-- Returns   the building marker of the list, possibly another builder's; nil if the list is valid
-- Invariant the list exists before the builder reads SQL, so it receives every push that this SQL
--           read may miss
local marker = redis.call('LINDEX', KEYS[1], -1)
if not marker then
  redis.call('RPUSH', KEYS[1], ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  return ARGV[1]
end
if string.sub(marker, 1, 1) == 'b' then
  return marker
end
return false

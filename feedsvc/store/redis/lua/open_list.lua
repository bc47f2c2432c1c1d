-- KEYS[1]   list of ids, the latest push first. Its last element is its marker: 'f' and a floor if
--           the list is valid, 'b' and a token while it is being built
-- ARGV[1]   the building marker to set if the list is absent
-- ARGV[2]   seconds until an absent list, which begins now, expires
-- Returns   the building marker of the list, perhaps one of another builder; nil if the list is
--           valid
-- Invariant pushes land on the list from here on, before the builder reads SQL
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

-- KEYS[1]   list: ids, newest put first, then one marker: 'f' floor, or 'b' building token
-- ARGV[1]   the building marker to set if the list is absent
-- ARGV[2]   seconds until the list expires
-- Returns   the building marker that stands now (ours, or another's to adopt); nil if the list is valid
-- Invariant pushes land from here on, before the builder reads SQL
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

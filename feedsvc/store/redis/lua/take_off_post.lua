-- KEYS[1]   list celebrity-posts:<author>
-- ARGV[1]   the post's id
-- Returns   1 if nothing is left on the list and nothing below its floor, else 0
-- Invariant a list being built may be finished with rows read before the post was done: it is dropped, to be read again
local marker = redis.call('LINDEX', KEYS[1], -1)
if not marker then
  return 0
end
if string.sub(marker, 1, 1) == 'b' then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('LREM', KEYS[1], 0, ARGV[1])
if string.match(marker, '%d+') == '0' and redis.call('LLEN', KEYS[1]) == 1 then
  return 1
end
return 0

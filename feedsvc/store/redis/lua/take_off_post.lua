-- KEYS[1]   list celebrity-posts:<author>
-- ARGV[1]   the id of the post
-- Returns   1 if nothing is left on the list and nothing is below its floor, otherwise 0
-- Invariant a builder may have read SQL before the post was done, and would put the post back: so
--           a list that is being built is deleted
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

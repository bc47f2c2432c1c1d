-- KEYS[1]   list celebrity-posts:<author>
-- ARGV[1]   the id of the post
-- Returns   1 if the author has no listed post any more (the list is empty and its floor is 0),
--           otherwise 0
-- Invariant a list that is being built is deleted. Its builder may have read SQL before the post
--           was pushed or deleted there, and would store the post again.
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

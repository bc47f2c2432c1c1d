-- KEYS[1]   list celebrity-posts:<author>
-- ARGV[1]   the id of the post
-- ARGV[2]   cap: how many ids the list has after a trim
-- ARGV[3]   the number of ids above which the list is trimmed
-- ARGV[4]   a fresh token
-- ARGV[5]   seconds until the list expires
-- Returns   the building marker if the list is not valid, and the caller then builds the list; nil
--           if the list is valid
-- Invariant a list that was absent says nothing about other posts of the author, so it begins as a
--           list that is being built
if redis.call('LPUSHX', KEYS[1], ARGV[1]) == 0 then
  redis.call('RPUSH', KEYS[1], ARGV[1], 'b' .. ARGV[4])
elseif redis.call('LLEN', KEYS[1]) > tonumber(ARGV[3]) then
  trim(KEYS[1], tonumber(ARGV[2]), ARGV[4])
end
redis.call('EXPIRE', KEYS[1], ARGV[5])
local marker = redis.call('LINDEX', KEYS[1], -1)
if string.sub(marker, 1, 1) == 'b' then
  return marker
end
return false

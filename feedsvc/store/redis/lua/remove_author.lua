-- KEYS[1]   sorted set celebrities
-- ARGV[1]   the author
-- ARGV[2]   the author's number, read before the caller checked that the list is empty
-- Returns   1 if the author was removed, 0 if it was put again since, or is not in the set
-- Invariant a put writes the list first and the set second: if the number has not changed, the
--           list is still empty
local number = redis.call('ZSCORE', KEYS[1], ARGV[1])
if number and tonumber(number) == tonumber(ARGV[2]) then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0

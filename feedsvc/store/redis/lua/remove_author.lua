-- KEYS[1]   sorted set celebrities
-- ARGV[1]   the author
-- ARGV[2]   the number that it had before its list was found empty
-- Returns   1 if removed, 0 if it has been put again since (or is not there)
-- Invariant a put writes the list, then the set: an unmoved number says that the list is still empty
local number = redis.call('ZSCORE', KEYS[1], ARGV[1])
if number and tonumber(number) == tonumber(ARGV[2]) then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0

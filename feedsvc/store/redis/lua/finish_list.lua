-- KEYS[1]   list of ids, the latest push first, with its marker as last element
-- ARGV[1]   the building marker that the list had before the builder read SQL
-- ARGV[2]   the floor of ARGV[5..]: every id above the floor that belongs on the list is in
--           ARGV[5..] or was pushed since
-- ARGV[3]   cap: how many ids the list may have
-- ARGV[4]   seconds until the list expires
-- ARGV[5..] the ids that SQL has, highest first; they go behind the ids that were pushed meanwhile
-- Returns   1 if the list is valid now, 0 if it has another marker
-- Invariant if the cap leaves ids out, the floor is at least the highest id left out
if redis.call('LINDEX', KEYS[1], -1) ~= ARGV[1] then
  return 0
end
redis.call('RPOP', KEYS[1])
local floor = ARGV[2]
local last = #ARGV
local room = math.max(tonumber(ARGV[3]) - redis.call('LLEN', KEYS[1]), 0)
if last - 4 > room then
  last = 4 + room
  if tonumber(ARGV[last + 1]) > tonumber(floor) then
    floor = ARGV[last + 1]
  end
end
for first = 5, last, 1000 do
  redis.call('RPUSH', KEYS[1], unpack(ARGV, first, math.min(first + 999, last)))
end
redis.call('RPUSH', KEYS[1], 'f' .. floor .. ':' .. string.sub(ARGV[1], 2))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1

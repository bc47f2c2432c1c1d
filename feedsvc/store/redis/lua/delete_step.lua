-- KEYS[1]   string run-id: the identity of the server run that wrote the data
-- ARGV[1]   the cursor of SCAN
-- ARGV[2]   the identity of this run, which the last step stores; empty to store nothing
-- ARGV[3..] the beginnings of the keys of the service
-- Returns   the next cursor; '0' if every key that existed at the first step is deleted
-- Invariant the identity is stored only after all keys of another run are deleted. Once any
--           connection has stored it, the steps of all others delete nothing.
if ARGV[2] ~= '' and redis.call('EXISTS', KEYS[1]) == 1 then
  return '0'
end
local found = redis.call('SCAN', ARGV[1], 'COUNT', 1000)
for _, key in ipairs(found[2]) do
  for i = 3, #ARGV do
    if string.sub(key, 1, #ARGV[i]) == ARGV[i] then
      redis.call('UNLINK', key)
      break
    end
  end
end
if found[1] == '0' and ARGV[2] ~= '' then
  redis.call('SET', KEYS[1], ARGV[2])
end
return found[1]

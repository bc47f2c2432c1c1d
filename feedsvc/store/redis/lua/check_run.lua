-- KEYS[1]   string run-id: the identity of the server run that wrote the data
-- ARGV[1]   1 to empty the server in any case, otherwise 0
-- Returns   how many keys were deleted; -1 if the data are of this run and stay
-- Invariant the server is emptied before a client reads from it if (a) it restarted or failed over,
--           and may have older data, or (b) another release of this service wrote its views in
--           another layout
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local replication = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local layout = '2'
local this_run = run .. ' ' .. replication .. ' ' .. layout
if ARGV[1] == '0' and redis.call('GET', KEYS[1]) == this_run then
  return -1
end
local size = redis.call('DBSIZE')
if size == 0 then
  -- There is nothing old to read. A server that refuses writes may be read without the mark.
  redis.pcall('SET', KEYS[1], this_run)
  return -1
end
redis.call('FLUSHDB', 'ASYNC')
redis.call('SET', KEYS[1], this_run)
return size

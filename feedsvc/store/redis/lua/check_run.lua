-- KEYS[1]   string run-id: the run of the server under which its data were written
-- ARGV[1]   1 to empty the server in any case, otherwise 0
-- Returns   how many keys were deleted; -1 if the data are of this run and stay
-- Invariant no client reads from a server that came back with older data (restarted from a
--           snapshot, or failed over), or whose views have the layout of another version of this
--           service: such a server is emptied first
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local replication = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local layout = '2'
local now = run .. ' ' .. replication .. ' ' .. layout
if ARGV[1] == '0' and redis.call('GET', KEYS[1]) == now then
  return -1
end
local size = redis.call('DBSIZE')
redis.call('FLUSHDB', 'ASYNC')
redis.call('SET', KEYS[1], now)
return size

-- KEYS[1]   string run-id: the run of the server under which its data were written
-- ARGV[1]   1 to throw everything away in any case, else 0
-- Returns   how many keys were thrown away; -1 if they are of this run and stay
-- Invariant a server that came back with an older state (restarted from a snapshot, failed over), or that holds views of another
--           layout, written by another version of this service, is empty before anybody reads it
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

-- KEYS[1]   string run-id: the identity of the server run that wrote the data
-- ARGV[1]   'check' to empty the server if the data are of another run; 'empty' to empty a server
--           whose run the caller does not know; 'flush' to empty the server of this run
-- ARGV[2]   the layout of the views
-- Returns   an error if the server is a replica; how many keys were deleted; -1 if there is nothing to delete; -2 if 'check' cannot tell
--           the run, because INFO is forbidden; a text, the identity of this run, if FLUSHDB is
--           forbidden and the caller has to delete the keys in steps
-- Invariant the server is emptied before a client reads from it if (a) it restarted or failed over,
--           and may have older data, or (b) another release of this service wrote its views in
--           another layout. No client reads from a replica, which may lag. Until that is done the key is absent, so every connection does it.
local function info(section, pattern)
  local answer = redis.pcall('INFO', section)
  return type(answer) == 'string' and string.match(answer, pattern)
end
if info('replication', 'role:(%a+)') == 'slave' then
  return redis.error_reply('READONLY the server is a replica')
end
local run = info('server', 'run_id:(%x+)')
local replication = info('replication', 'master_replid:(%x+)')
local this_run = 'marked ' .. ARGV[2]
if run and replication then
  this_run = run .. ' ' .. replication .. ' ' .. ARGV[2]
elseif ARGV[1] == 'check' then
  return -2
end
if ARGV[1] == 'check' and redis.call('GET', KEYS[1]) == this_run then
  return -1
end
local size = redis.call('DBSIZE')
if size == 0 then
  -- There is nothing old to read. A server that refuses writes may be read without the mark.
  redis.pcall('SET', KEYS[1], this_run)
  return -1
end
local flushed = redis.pcall('FLUSHDB', 'ASYNC')
if type(flushed) == 'table' and flushed.err then
  local is_forbidden = string.find(flushed.err, "can't run", 1, true)
    or string.find(flushed.err, 'ACL', 1, true)
    or string.find(string.lower(flushed.err), 'unknown', 1, true)
  if not is_forbidden then
    return flushed
  end
  if ARGV[1] ~= 'flush' then
    redis.call('DEL', KEYS[1])
  end
  return this_run
end
redis.call('SET', KEYS[1], this_run)
return size

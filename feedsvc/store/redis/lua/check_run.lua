-- KEYS[1]   string run-id: the identity of the server run that wrote the data
-- ARGV[1]   'check': delete the data if they are of another run. 'replace': delete the data, where
--           INFO is forbidden, if run-id still has the value ARGV[4]. 'flush': delete the data of
--           this run.
-- ARGV[2]   the layout of the views
-- ARGV[3]   for 'replace': the identity of this run
-- ARGV[4]   for 'replace': the identity that the caller found; empty for none
-- Returns   an error if the server is a replica
--           the number of deleted keys; -1 if there was nothing to delete
--           -2 if the run is unknown: INFO is forbidden, or run-id has changed before a 'replace'
--           the identity of this run if FLUSHDB is forbidden: the caller deletes the keys in steps
-- Invariant no client reads the server before its old data are deleted. Data are old if (a) the
--           server restarted or failed over since, or (b) another release wrote its views in
--           another layout. Until the deletion ends run-id is absent, so every connection deletes.
--           No client reads from a replica, which may lag.
local function info(section, pattern)
  local answer = redis.pcall('INFO', section)
  return type(answer) == 'string' and string.match(answer, pattern)
end
if info('replication', 'role:(%a+)') == 'slave' then
  return redis.error_reply('READONLY the server is a replica')
end
local stored = redis.call('GET', KEYS[1]) or ''
local run = info('server', 'run_id:(%x+)')
local replication = info('replication', 'master_replid:(%x+)')
local this_run
if run and replication then
  this_run = run .. ' ' .. replication .. ' ' .. ARGV[2]
elseif ARGV[1] == 'flush' then
  this_run = stored
elseif ARGV[1] == 'replace' and stored == ARGV[4] then
  this_run = ARGV[3]
else
  return -2
end
if ARGV[1] == 'check' and stored == this_run then
  return -1
end
local size = redis.call('DBSIZE')
if size == 0 then
  -- There is nothing old to read. A server that refuses writes may be read without the identity.
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

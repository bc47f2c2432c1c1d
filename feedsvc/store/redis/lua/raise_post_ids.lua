-- KEYS[1]   hash post-ids: highest, watermark
-- ARGV[1]   the id of a post that SQL has; 0 for none
-- ARGV[2]   the watermark of a process; 0 for none
-- Returns   the highest watermark of any process
-- Invariant neither field falls, and the highest id is not below the watermark
local function raise(field, id)
  if tonumber(id) > tonumber(redis.call('HGET', KEYS[1], field) or 0) then
    redis.call('HSET', KEYS[1], field, id)
  end
end
raise('highest', ARGV[1])
raise('highest', ARGV[2])
raise('watermark', ARGV[2])
return tonumber(redis.call('HGET', KEYS[1], 'watermark') or 0)

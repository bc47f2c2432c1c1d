-- KEYS[1]   hash fanout:<post>: cursor, delivered, skipped, batches
-- KEYS[2..] lists homefeed:<follower>: the feeds of this slice
-- ARGV[1]   the cursor that this slice starts from; '0' is the start, as is an absent hash
-- ARGV[2]   the cursor that it leads to
-- ARGV[3]   the post's id
-- ARGV[4]   cap: how many ids a feed keeps after a trim
-- ARGV[5]   the fewest ids at which a feed is trimmed
-- ARGV[6]   how many lengths from there on are used, each feed having one of its own
-- ARGV[7]   a fresh token, for feeds that are trimmed while being built
-- ARGV[8]   '1' if the first feed is the author's own, which is not counted
-- ARGV[9]   1 if this is the first slice of a batch, else 0
-- ARGV[10]  seconds until the hash expires
-- Returns   the cursor that stands now: ARGV[2] if this slice was delivered, else where the fan-out really is
-- Invariant the cursor moves in the step that pushes, so each slice is delivered once, however often it is run
local cursor = redis.call('HGET', KEYS[1], 'cursor') or '0'
if cursor ~= ARGV[1] then
  return cursor
end
local id, cap = ARGV[3], tonumber(ARGV[4])
local lowest, lengths = tonumber(ARGV[5]), tonumber(ARGV[6])
local delivered, skipped = 0, 0
for i = 2, #KEYS do
  local key = KEYS[i]
  local length = redis.call('LPUSHX', key, id)
  if length == 0 then
    skipped = skipped + 1
  else
    delivered = delivered + 1
    if length > lowest then
      -- Feeds that were filled together must not be trimmed together: the length at which one is, is its own.
      local a, b, c = string.byte(key, -3, -1)
      if length - 1 >= lowest + (100 * a + 10 * b + c) % lengths then
        trim(key, cap, ARGV[7])
      end
    end
  end
  if i == 2 and ARGV[8] == '1' then
    delivered, skipped = 0, 0
  end
end
redis.call('HSET', KEYS[1], 'cursor', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'delivered', delivered)
redis.call('HINCRBY', KEYS[1], 'skipped', skipped)
redis.call('HINCRBY', KEYS[1], 'batches', ARGV[9])
redis.call('EXPIRE', KEYS[1], ARGV[10])
return ARGV[2]

-- KEYS[1]   hash fanout:<post>, or fanout:<post>:<lane>: cursor, delivered, skipped, batches
-- KEYS[2..] lists homefeed:<follower>: the feeds of this slice
-- ARGV[1]   the cursor that this slice starts from
-- ARGV[2]   the cursor that it leads to
-- ARGV[3]   the post's id
-- ARGV[4]   cap: how many ids a feed keeps after a trim
-- ARGV[5]   the fewest ids at which a feed is trimmed
-- ARGV[6]   how many lengths from there on are used, each feed having one of its own
-- ARGV[7]   a fresh token, for feeds that are trimmed while being built
-- ARGV[8]   '1' if the first feed is the author's own, which is not counted
-- ARGV[9]   1 if this is the first slice of a batch, else 0
-- ARGV[10]  seconds until the hash expires
-- ARGV[11]  the cursor that the lane starts from, which is where an absent hash stands
-- Returns   the cursor that stands now: ARGV[2] if this slice was delivered, else where the fan-out really is
-- Invariant the cursor moves in the step that pushes, so each slice is delivered once, however often it is run
local call, byte, keys = redis.call, string.byte, KEYS
local cursor = call('HGET', keys[1], 'cursor') or ARGV[11]
if cursor ~= ARGV[1] then
  return cursor
end
local id, cap = ARGV[3], tonumber(ARGV[4])
local lowest, lengths = tonumber(ARGV[5]), tonumber(ARGV[6])
local skipped, first_skipped = 0, 0
for i = 2, #keys do
  local key = keys[i]
  local length = call('LPUSHX', key, id)
  if length > lowest then
    -- Feeds that were filled together must not be trimmed together: the length at which one is, is its own.
    local a, b, c = byte(key, -3, -1)
    if length - 1 >= lowest + (100 * a + 10 * b + c) % lengths then
      trim(key, cap, ARGV[7])
    end
  elseif length == 0 then
    skipped = skipped + 1
    if i == 2 then
      first_skipped = 1
    end
  end
end
local delivered = #keys - 1 - skipped
if ARGV[8] == '1' then
  delivered, skipped = delivered - 1 + first_skipped, skipped - first_skipped
end
call('HSET', keys[1], 'cursor', ARGV[2])
call('HINCRBY', keys[1], 'delivered', delivered)
call('HINCRBY', keys[1], 'skipped', skipped)
call('HINCRBY', keys[1], 'batches', ARGV[9])
call('EXPIRE', keys[1], ARGV[10])
return ARGV[2]

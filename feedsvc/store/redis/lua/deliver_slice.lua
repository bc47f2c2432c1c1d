-- KEYS[1]   hash fanout:<post>, or fanout:<post>:<lane>: cursor, delivered, skipped, batches
-- KEYS[2..] lists homefeed:<follower>: the feeds of this slice
-- ARGV[1]   the cursor at the start of this slice
-- ARGV[2]   the cursor at the end of this slice
-- ARGV[3]   the id of the post
-- ARGV[4]   cap: how many ids a feed has after a trim
-- ARGV[5]   the shortest trim length: the fewest ids at which a feed is trimmed
-- ARGV[6]   the number of trim lengths: the feed's account id chooses one
-- ARGV[7]   a fresh token, for feeds that are trimmed
-- ARGV[8]   1 if KEYS[2] is the author's own feed, which does not count as delivered or skipped,
--           otherwise 0
-- ARGV[9]   1 if this is the first slice of a batch, otherwise 0
-- ARGV[10]  seconds until the hash expires
-- ARGV[11]  the start of the lane: the cursor if the hash is absent
-- Returns   the cursor after this call: ARGV[2] if this slice was delivered, otherwise the cursor
--           in KEYS[1], and nothing was changed
-- Invariant the cursor moves in the step that pushes, so a slice is delivered once, however often
--           it is run
local call, byte, keys = redis.call, string.byte, KEYS
local cursor = call('HGET', keys[1], 'cursor') or ARGV[11]
if cursor ~= ARGV[1] then
  return cursor
end
local id, cap = ARGV[3], tonumber(ARGV[4])
local shortest, lengths = tonumber(ARGV[5]), tonumber(ARGV[6])
local skipped, first_skipped = 0, 0
for i = 2, #keys do
  local key = keys[i]
  local length = call('LPUSHX', key, id)
  if length > shortest then
    -- Feeds that were filled together must not be trimmed together. So the last three digits of an
    -- account's id choose the length at which its feed is trimmed.
    local a, b, c = byte(key, -3, -1)
    if length - 1 >= shortest + (100 * a + 10 * b + c) % lengths then
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

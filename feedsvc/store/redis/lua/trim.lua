-- A part, put in front of the scripts that push.
-- KEYS      none of its own: trim(key, cap, token) takes the list
-- ARGV      none of its own
-- Returns   nothing; the list keeps its first `cap` ids
-- Invariant every id cut is at or below the floor set in the same step; a list being built, whose builder may not have
--           read what is cut here, gets a new token, so that its builder starts again; a valid one gets one too, so
--           that what was noted in its marker is gone
local function trim(key, cap, token)
  local cut = redis.call('LRANGE', key, cap, -1)
  local marker = table.remove(cut)
  redis.call('LTRIM', key, 0, cap - 1)
  if string.sub(marker, 1, 1) == 'b' then
    marker = 'b' .. token
  else
    -- Decimal ids compare as text once they are of one length; as numbers they would cost more than the push (docs/performance.md).
    local floor = string.match(marker, '%d+')
    local digits = #floor
    for _, id in ipairs(cut) do
      if #id > digits or (#id == digits and id > floor) then
        floor, digits = id, #id
      end
    end
    marker = 'f' .. floor .. ':' .. token
  end
  redis.call('RPUSH', key, marker)
end

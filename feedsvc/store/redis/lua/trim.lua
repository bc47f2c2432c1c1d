-- A part, put in front of the scripts that push.
-- KEYS      none of its own: trim(key, cap, token) takes the key
-- ARGV      none of its own
-- Returns   nothing; the list keeps its first `cap` ids
-- Invariant every id that is cut is at or below the floor, which is raised in the same step. The
--           token changes: the builder of a list, who may not have read the ids that are cut, has
--           to start again, and the tail hint of a valid list is gone
local function trim(key, cap, token)
  local cut = redis.call('LRANGE', key, cap, -1)
  local marker = table.remove(cut)
  redis.call('LTRIM', key, 0, cap - 1)
  if string.sub(marker, 1, 1) == 'b' then
    marker = 'b' .. token
  else
    -- Decimal ids of one length compare as text. Comparing them as numbers would cost more than the
    -- push (docs/performance.md).
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

-- Let a request of a key in: one round trip, one slot.
-- KEYS[1]  the key's version; missing: nobody knows it, '?': it is about to change
-- KEYS[2]  its sliding window: the newest bucket's number, and how many requests each bucket holds
-- KEYS[3]  the word with which a missing version may be filled in
-- ARGV     the limit a second, a fresh word
-- Returns  the version or '', the word if it is the one, remaining, ms until all is free,
--          ms until one is free (0: let through)
-- The arithmetic is rdev.domain.rate_limits', by this server's clock.
local BUCKET_MS, BUCKETS = 50, 21
local FORMAT = '<d' .. string.rep('I4', BUCKETS)

-- One word at a time: else those who ask at once would void each other's, and nobody could fill.
local version, word = redis.call('GET', KEYS[1]), ''
if not version and redis.call('SET', KEYS[3], ARGV[2], 'NX', 'PX', 2000) then
  word = ARGV[2]
end

local limit = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local newest = math.floor(now / BUCKET_MS)
local counts, used, set_back = {}, 0, false
local packed = redis.call('GET', KEYS[2])
if packed then
  local read = { struct.unpack(FORMAT, packed) }
  local last = read[1]
  if last > newest and last <= newest + BUCKETS then newest = last end
  for bucket = newest - BUCKETS + 1, newest do
    if bucket > last - BUCKETS and bucket <= last then
      counts[bucket % BUCKETS] = read[2 + bucket % BUCKETS]
      used = used + counts[bucket % BUCKETS]
    end
  end
  if last > newest then -- the clock was put back: what is known counts as new
    for index = 2, BUCKETS + 1 do used = used + read[index] end
    counts = { [newest % BUCKETS] = used }
    set_back = true
  end
end

local function free_in(wanted)
  local left = used
  for bucket = newest - BUCKETS + 1, newest do
    left = left - (counts[bucket % BUCKETS] or 0)
    if left <= wanted then return math.max(1, (bucket + BUCKETS) * BUCKET_MS - now) end
  end
end

local function remember()
  local values = { newest }
  for index = 0, BUCKETS - 1 do values[index + 2] = counts[index] or 0 end
  redis.call('SET', KEYS[2], struct.pack(FORMAT, unpack(values)), 'PX', BUCKET_MS * BUCKETS * 2)
end

if used >= limit then
  if set_back then remember() end
  return { version or '', word, 0, free_in(0), free_in(limit - 1) }
end
used = used + 1
counts[newest % BUCKETS] = (counts[newest % BUCKETS] or 0) + 1
remember()
return { version or '', word, limit - used, (newest + BUCKETS) * BUCKET_MS - now, 0 }

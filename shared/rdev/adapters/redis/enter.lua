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
local packed, set_back = redis.call('GET', KEYS[2]), false
local window -- the newest bucket's number, and behind it how many requests each holds
if packed then
  window = { struct.unpack(FORMAT, packed) }
else
  window = { newest }
  for index = 2, BUCKETS + 1 do window[index] = 0 end
end
local last = window[1]
if last > newest + BUCKETS then -- the clock was put back: what is known counts as new
  local known = 0
  for index = 2, BUCKETS + 1 do known, window[index] = known + window[index], 0 end
  window[2 + newest % BUCKETS] = known
  set_back = true
else
  newest = math.max(newest, last)
  for passed = last + 1, math.min(newest, last + BUCKETS) do window[2 + passed % BUCKETS] = 0 end
end
window[1] = newest
local used = 0
for index = 2, BUCKETS + 1 do used = used + window[index] end

local function free_in(wanted)
  local left = used
  for bucket = newest - BUCKETS + 1, newest do
    left = left - window[2 + bucket % BUCKETS]
    if left <= wanted then return math.max(1, (bucket + BUCKETS) * BUCKET_MS - now) end
  end
end

local function remember()
  local values = struct.pack(FORMAT, unpack(window, 1, BUCKETS + 1))
  redis.call('SET', KEYS[2], values, 'PX', BUCKET_MS * BUCKETS * 2)
end

if used >= limit then
  if set_back then remember() end
  return { version or '', word, 0, free_in(0), free_in(limit - 1) }
end
used = used + 1
window[2 + newest % BUCKETS] = window[2 + newest % BUCKETS] + 1
remember()
return { version or '', word, limit - used, (newest + BUCKETS) * BUCKET_MS - now, 0 }

-- From now on no earlier version of a key holds.
-- KEYS[1]  the key's version
-- KEYS[2]  the word with which it may be filled in: void from now on
-- ARGV     the version, for how many seconds to remember it
local known = tonumber(redis.call('GET', KEYS[1]) or '')
if not known or known < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
redis.call('DEL', KEYS[2])

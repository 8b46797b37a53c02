-- Say which version of a key holds, if nobody has said anything since the word was given out.
-- KEYS[1]  the key's version
-- KEYS[2]  the word with which it may be filled in
-- ARGV     the word, the version, for how many seconds to remember it
if redis.call('GET', KEYS[2]) == ARGV[1] and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  redis.call('DEL', KEYS[2])
end

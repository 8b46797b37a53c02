-- Lets a command's stream go: in some seconds, or sooner if it was to go sooner; at once where its
-- end is not in it.
--
-- KEYS[1]  rdev:{<project>}:<command id>  the command's stream
-- ARGV[1]  in how many seconds
--
-- Called when all that can be had is archived. A stream that then has no end will never get one,
-- and whoever finds it there would wait for that instead of looking in the archive.

local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last and last[2][1] == 't' and last[2][2] == 'command.finished' then
  redis.call('EXPIRE', KEYS[1], ARGV[1], 'LT')
else
  redis.call('DEL', KEYS[1])
end

-- Forgets what lies before an entry of a command's stream, if that entry is one of the stream.
--
-- KEYS[1]  rdev:{<project>}:<command id>  the command's stream
-- ARGV[1]  the entry's id
--
-- A stream that was lost and filled again may be cut differently, and hold bytes under a lower id
-- that are stored nowhere else: then the entry is not there, and nothing is forgotten. The entry
-- itself stays, so the stream never becomes empty.

if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 1 then
  redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
end

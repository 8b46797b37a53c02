-- Appends to a command's stream, and tells of it in its project's stream.
--
-- KEYS[1]  rdev:{<project>}:<command id>  the command's stream, whose ids count bytes
-- KEYS[2]  rdev:{<project>}:events        the project's stream, with ids of Redis's own
--
-- ARGV[1]  output, onto (output, but never as a stream's first entry), state or tail
-- ARGV[2]  the command id
-- ARGV[3]  about how many entries the project's stream keeps
-- output, onto: (o|e, stdout before, stderr before, output|claude.message, bytes)...
-- state:   type, JSON, and for command.finished the totals of stdout and stderr
--
-- Replies {last id, finished (0|1), outcome}: how the stream ends afterwards. Whatever is called
-- twice, late, or by several at once has the effect of one call.

local LONGEST_S = 30 * 86400
local operation, command, keep = ARGV[1], ARGV[2], ARGV[3]
local major, minor, finished = 0, 0, 0

local function find_tail()
  if redis.call('EXISTS', KEYS[1]) == 0 then return end
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local a, b = string.match(info[i + 1], '^(%d+)-(%d+)$')
      major, minor = tonumber(a), tonumber(b)
    elseif info[i] == 'last-entry' and info[i + 1] then
      local fields = info[i + 1][2]
      if fields[1] == 't' and fields[2] == 'command.finished' then finished = 1 end
    end
  end
end

local function id_of(a, b)
  return string.format('%.0f-%.0f', a, b)  -- tostring() would round above 1e14
end

local previous = nil

local function tell(id, ...)
  if not previous then
    local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
    previous = last[1] and last[1][1] or '0-0'
  end
  previous = redis.call('XADD', KEYS[2], 'MAXLEN', '~', keep, '*',
    'p', previous, 'c', command, 'i', id, ...)
end

local function append_output(flag, stdout, stderr, kind, data)
  local stdout_now, stderr_now = 0, 0
  if major > 0 then stdout_now, stderr_now = major - 1, minor end
  if finished == 1 or #data == 0 or stdout ~= stdout_now or stderr ~= stderr_now then
    return 'elsewhere'
  end
  if flag == 'o' then stdout = stdout + #data else stderr = stderr + #data end
  major, minor = stdout + 1, stderr
  local id = id_of(major, minor)
  if kind == 'output' then
    redis.call('XADD', KEYS[1], id, 's', flag, 'd', data)
  else
    redis.call('XADD', KEYS[1], id, 't', kind, 's', flag, 'd', data)
  end
  tell(id, 't', kind)
  return 'added'
end

local function append_state(kind, json, stdout, stderr)
  local a, b = 0, 1
  if kind == 'command.started' then
    b = 2
  elseif kind == 'command.finished' then
    a, b = stdout + 1, stderr + 1
    local at_totals = major > 0 and major == a and minor == stderr
    local nothing_written = major == 0 and stdout == 0 and stderr == 0
    if finished == 1 then return 'repeat' end
    if not (at_totals or nothing_written) then return 'behind' end
  end
  if major > a or (major == a and minor >= b) then return 'repeat' end
  major, minor = a, b
  if kind == 'command.finished' then finished = 1 end
  local id = id_of(a, b)
  redis.call('XADD', KEYS[1], id, 't', kind, 'd', json)
  -- What nobody comes to forget goes all the same: a power cut may have taken that along.
  redis.call('EXPIRE', KEYS[1], LONGEST_S)
  tell(id, 't', kind, 'd', json)
  return 'added'
end

find_tail()
local outcome = 'tail'
if operation == 'onto' and major == 0 and minor == 0 then
  -- What a runner that slept for long believes in may have been archived and forgotten meanwhile.
  outcome = 'elsewhere'
elseif operation == 'output' or operation == 'onto' then
  for i = 4, #ARGV, 5 do
    outcome = append_output(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]),
      ARGV[i + 3], ARGV[i + 4])
  end
elseif operation == 'state' then
  outcome = append_state(ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]))
end
return {id_of(major, minor), finished, outcome}

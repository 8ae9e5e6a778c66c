"""The Lua that runs inside Redis: what has to happen at once, or not at all.

Keys of one script share a slot of a Cluster. Nothing here is for one caller
only: a script holds up everybody, so each is a handful of commands.
"""

from typing import Final

# KEYS entry lease; ARGV token, lease ttl in ms, mark of the stamps, over
CLAIM: Final = """
local held = redis.pcall('GET', KEYS[2])
if type(held) == 'table' then redis.call('DEL', KEYS[2]) held = false end
if not held or ARGV[4] == '*' or ARGV[4] == held
    or string.sub(held, -#ARGV[3]) ~= ARGV[3] then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  held = ARGV[1]
end
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'table' then value = false end
return {held, value}
"""

# KEYS entry hash lease; ARGV token, lease ttl in ms, fields…, what each of them must
# hold: "-" for nothing, else "+" and the text
LOOK: Final = """
local count, fields, wanted = (#ARGV - 2) / 2, {}, true
for i = 1, count do fields[i] = ARGV[2 + i] end
local value = redis.call('GET', KEYS[1])
local found = redis.call('HMGET', KEYS[2], unpack(fields))
for i = 1, count do
  local held = found[i] and '+' .. found[i] or '-'
  wanted = wanted and held == ARGV[2 + count + i]
end
local taken = 0
if not value and wanted
    and redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2]) then
  taken = 1
end
return {value, found, taken}
"""

# KEYS lease stream; ARGV token, lease ttl in ms, stream ttl in ms, records…
BEAT: Final = """
if tonumber(ARGV[2]) > 0 and redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
for i = 4, #ARGV do redis.call('XADD', KEYS[2], '*', 'd', ARGV[i]) end
if #ARGV > 3 then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
return redis.call('XLEN', KEYS[2])
"""

# KEYS entry lease stream; ARGV token, value, its ttl in ms, stream ttl, digest of the
# entry that the load began with, records…
LAND: Final = """
local held, kept = redis.call('GET', KEYS[2]), 0
local mark = string.match(ARGV[1], '%..*$')
local waits = held and string.sub(held, -#mark) == mark and string.sub(held, 1, 1) ~= 'r'
local free = false
if (not held or waits) and ARGV[2] ~= '' then
  local found = redis.pcall('GET', KEYS[1])
  free = type(found) ~= 'string' or redis.sha1hex(found) == ARGV[5]
end
if ARGV[2] ~= '' and (held == ARGV[1] or free) then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  kept = 1
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  for i = 6, #ARGV do redis.call('XADD', KEYS[3], '*', 'd', ARGV[i]) end
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
end
if held == ARGV[1] then redis.call('DEL', KEYS[2]) end
return kept
"""

# KEYS stream; ARGV how many it keeps about, its ttl in ms, records…
APPEND: Final = """
for i = 3, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'e', ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

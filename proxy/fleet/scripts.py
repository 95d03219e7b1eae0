"""What is run inside Redis: one script a turn, one a plan. Each is atomic, and touches the keys of one fleet only.

All keys of a fleet carry the same hash tag, so that a cluster keeps them on one node, and the protocol's version: pods that
speak another version meet beside them. Times are the server's, in milliseconds.

    …:pilot     who decides; it expires
    …:seen      pods by when their records, and with these their leases, run out
    …:records   each pod's last record, as JSON
    …:plan      id, at, body: the plan in force without the shares, as JSON
    …:shares    each pod's shares of it, as JSON

A follower is told the plan and its own share. The pilot is told all records, and all shares when it takes over.
"""

from __future__ import annotations

from urllib.parse import quote

from proxy.fleet.record import VERSION

RECORD_MS = 2600
"""How long a record counts: a lease of 2.5 s, which its holder counts from before it sent it, and some drift of clocks."""
PILOT_MS = 7000
"""How long a pilot of an idle fleet may be silent: it posts every 5 s."""
SUCCEEDS_AFTER_MS = 2000
"""A pod that carries calls takes over from a pilot that was silent for so long."""
_KEPT_MS = 600_000
"""A fleet that is gone leaves nothing behind for longer."""


def keys_of(fleet: str, version: int = VERSION) -> list[str]:
    """Return the five keys, in the order in which the scripts know them."""
    # Braces in the name would end the hash tag before its time.
    tag = "{" + quote(fleet, safe=":/@.~_-[]") + "}"
    return [f"sidegate:{tag}:v{version}:{name}" for name in ("pilot", "seen", "records", "plan", "shares")]


TURN = f"""
-- pod, record, known plan's id, is the pilot, is awake, is leaving
local pilot_key, seen_key, records_key, plan_key, shares_key = unpack(KEYS)
local pod, record, known = ARGV[1], ARGV[2], ARGV[3]
local was_pilot, is_awake, is_leaving = ARGV[4] == '1', ARGV[5] == '1', ARGV[6] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A pod whose record ran out has lost its lease, and the pilot may have given it away since the plan there was made.
local lasts = redis.call('ZSCORE', seen_key, pod)
if not lasts or tonumber(lasts) < now then redis.call('HDEL', shares_key, pod) end
redis.call('HSET', records_key, pod, record)
redis.call('ZADD', seen_key, now + {RECORD_MS}, pod)

local pilot = redis.call('GET', pilot_key)
if is_leaving then
  if pilot == pod then redis.call('DEL', pilot_key) end
  return {{0, '', 0, '', ''}}
end
if pilot and pilot ~= pod and is_awake then
  if redis.call('PTTL', pilot_key) < {PILOT_MS - SUCCEEDS_AFTER_MS} then pilot = false end
end
if not pilot or pilot == pod then
  redis.call('SET', pilot_key, pod, 'PX', {PILOT_MS})
  pilot = pod
end

local id, at, body = unpack(redis.call('HMGET', plan_key, 'id', 'at', 'body'))
local age = at and now - at or 0
if id == known then body = '' end
local answer = {{pilot == pod and 1 or 0, id or '', age, body or ''}}
if pilot ~= pod then
  answer[5] = redis.call('HGET', shares_key, pod) or ''
  return answer
end
for _, key in ipairs({{seen_key, records_key, plan_key, shares_key}}) do redis.call('PEXPIRE', key, {_KEPT_MS}) end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', seen_key, '-inf', '(' .. string.format('%.0f', now))) do
  redis.call('HDEL', records_key, gone)
  redis.call('ZREM', seen_key, gone)
end
answer[5] = was_pilot and {{}} or redis.call('HGETALL', shares_key)
answer[6] = redis.call('HVALS', records_key)
return answer
"""

PUBLISH = f"""
-- pod, the plan's id before, its id, its body, then pods and their shares in turns
local pilot_key, _, _, plan_key, shares_key = unpack(KEYS)
if redis.call('GET', pilot_key) ~= ARGV[1] or (redis.call('HGET', plan_key, 'id') or '') ~= ARGV[2] then return 0 end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', plan_key, 'id', ARGV[3], 'at', now, 'body', ARGV[4])
redis.call('DEL', shares_key)
-- Lua cannot hand over more than some thousands of values at once.
for first = 5, #ARGV, 1000 do
  redis.call('HSET', shares_key, unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
redis.call('PEXPIRE', plan_key, {_KEPT_MS})
redis.call('PEXPIRE', shares_key, {_KEPT_MS})
return 1
"""

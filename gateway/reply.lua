-- The one shape of an error (X3) for what the edge itself refuses, and "did you mean".
--
-- A daemon's errors reach the client as google.rpc.Status in JSON, written by the transcoder. What is
-- written here has the same keys in the same order, so that no client can tell who refused it.

local json = require("json")

local byte, sub = string.byte, string.sub

-- HTTP status -> google.rpc.Code, and the reason where none is given.
local CODES = {
  [400] = { 3, "INVALID_ARGUMENT" },
  [401] = { 16, "UNAUTHENTICATED" },
  [403] = { 7, "PERMISSION_DENIED" },
  [404] = { 5, "ROUTE_NOT_FOUND" },
  [405] = { 12, "METHOD_NOT_ALLOWED" },
  [408] = { 4, "DEADLINE_EXCEEDED" },
  [413] = { 8, "TOO_LARGE" },
  [429] = { 8, "RESOURCE_EXHAUSTED" },
  [431] = { 8, "TOO_LARGE" },
  [500] = { 13, "INTERNAL" },
  [501] = { 12, "UNIMPLEMENTED" },
  [502] = { 14, "UNAVAILABLE" },
  [503] = { 14, "UNAVAILABLE" },
  [504] = { 4, "DEADLINE_EXCEEDED" },
}

local function quoted(text)
  local escaped = string.gsub(text, '[%c"\\\127]', function(c)
    return string.format("\\u%04x", byte(c))
  end)
  return '"' .. escaped .. '"'
end

-- `problem`: message, and optionally reason, field (whose message then follows it) and suggestion.
local function body(status, problem)
  local code, reason = unpack(CODES[status] or (status < 500 and CODES[400] or CODES[500]))
  local message, metadata, violations = problem.message, {}, ""
  if problem.field then
    metadata[1] = '"field":' .. quoted(problem.field)
    violations = ',{"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":[{"field":'
      .. quoted(problem.field) .. ',"description":' .. quoted(message) .. ',"reason":""}]}'
    message = problem.field .. ": " .. message
  end
  if problem.suggestion then
    metadata[#metadata + 1] = '"suggestion":' .. quoted(problem.suggestion)
  end
  return '{"code":' .. code .. ',"message":' .. quoted(message)
    .. ',"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":'
    .. quoted(problem.reason or reason) .. ',"domain":"lakehouse","metadata":{'
    .. table.concat(metadata, ",") .. "}}" .. violations .. "]}"
end

local OPENAI_TYPES = {
  [401] = "authentication_error",
  [403] = "permission_error",
  [429] = "rate_limit_error",
}

-- An error in the one shape, as OpenAI's clients read it.
local function openai_body(status, text)
  local from = string.match(text, '^{"code":%d+,"message":"()')
  local message = from and sub(text, from, json.text_end(text, from) - 1) or "status " .. status
  local kind = OPENAI_TYPES[status] or (status < 500 and "invalid_request_error" or "server_error")
  return '{"error":{"message":"' .. message .. '","type":"' .. kind .. '","param":null,"code":"'
    .. (string.match(text, '"reason":"([%w_]+)"') or "UNKNOWN") .. '"}}'
end

-- Edits (insert, delete, replace, swap neighbours) between two words; `limit` + 1 stands for more.
local function distance(a, b, limit)
  if math.abs(#a - #b) > limit then
    return limit + 1
  end
  local before, last, row = {}, {}, {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    row = { [0] = i }
    for j = 1, #b do
      local same = byte(a, i) == byte(b, j)
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and byte(a, i) == byte(b, j - 1) and byte(a, i - 1) == byte(b, j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
    before, last = last, row
  end
  return last[#b]
end

-- queryText -> query_text, Query-Text -> query_text
local function snake(word)
  local spaced = string.gsub(word, "(%l)(%u)", "%1_%2")
  return (string.gsub(string.lower(spaced), "-", "_"))
end

-- The word of the list `known` that `word` was most likely meant to be, or nil: the nearest one, else one
-- that holds it (query -> query_text), else its last part (top_k -> k). Earlier ones win ties.
local function nearest(word, known)
  word = snake(sub(word, 1, 64))
  local best, least = nil, #word < 3 and 1 or math.max(1, math.floor(#word / 3)) + 1
  local holder, part, last = nil, nil, string.match(word, "_([^_]+)$")
  for _, candidate in ipairs(known) do
    local edits = distance(word, candidate, least)
    if edits < least then
      best, least = candidate, edits
    end
    if not holder and word ~= "" and string.find(candidate, word, 1, true) then
      holder = candidate
    end
    part = candidate == last and candidate or part
  end
  return best or holder or part
end

-- Fills in the message of a problem whose `unknown` word is none of its `known` ones.
local function suggest(problem, noun)
  problem.suggestion = nearest(problem.unknown, problem.known)
  if problem.suggestion then
    problem.message = "unknown " .. noun .. "; did you mean " .. problem.suggestion .. "?"
  elseif #problem.known > 0 then
    problem.message = "unknown " .. noun .. "; known are " .. table.concat(problem.known, ", ", 1, math.min(#problem.known, 12))
  else
    problem.message = "unknown " .. noun .. "; there are none here"
  end
  return problem
end

return { body = body, openai_body = openai_body, distance = distance, nearest = nearest, suggest = suggest }

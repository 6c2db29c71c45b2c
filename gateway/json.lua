-- Strict JSON: RFC 8259 and nothing else, with every key and the sort of every value checked (X2).
--
-- The transcoder behind this filter is lenient: it takes single quotes, trailing commas, repeated
-- keys, camelCase and a value in place of a list, drops fields it does not know and nulls in lists,
-- and does not say which element of a list was wrong. What passes here leaves it nothing to guess.
-- All scanning is by plain loops over bytes: the just-in-time compiler turns them into about a
-- nanosecond a byte, where pattern matching costs ten.

local kinds = require("kinds")

local byte, char, sub = string.byte, string.char, string.sub
local ANY, NUMBER = kinds.named.any, kinds.named.number

local DEEPEST = 32 -- a Struct takes three protobuf levels for each of JSON, and parsers stop at 100

local trail = {} -- keys and indexes from the root to where the scan stands; the scan never yields
local tolerant -- whether unknown keys are let through

-- Where the scan stands, as clients write it: items[2].metadata.
local function place(depth)
  local text = ""
  for level = 1, depth do
    local step = trail[level]
    if type(step) == "number" then
      text = text .. "[" .. step .. "]"
    else
      text = text .. (text == "" and "" or ".") .. step
    end
  end
  return text
end

-- Stops the scan. `problem` is what check() returns.
local function fail(problem)
  error(problem, 0)
end

local function malformed(message, at)
  fail({ reason = "MALFORMED_MESSAGE", message = "not valid JSON: " .. message .. " at byte " .. (at - 1) })
end

-- The next byte that is no white space (nil at the end) and its place.
local function token(s, i)
  local c = byte(s, i)
  while c == 32 or c == 10 or c == 13 or c == 9 do
    i = i + 1
    c = byte(s, i)
  end
  return i, c
end

-- Scans a number that begins at `i` with the byte `c`; returns the place after it.
local function number(s, i, c)
  if c == 45 then
    i = i + 1
    c = byte(s, i) or 0
  end
  if c == 48 then
    i = i + 1
    c = byte(s, i) or 0
  elseif c >= 49 and c <= 57 then
    repeat
      i = i + 1
      c = byte(s, i) or 0
    until c < 48 or c > 57
  else
    malformed("a digit is missing", i)
  end
  if c == 46 then
    i = i + 1
    c = byte(s, i) or 0
    if c < 48 or c > 57 then
      malformed("a digit is missing", i)
    end
    repeat
      i = i + 1
      c = byte(s, i) or 0
    until c < 48 or c > 57
  end
  if c == 101 or c == 69 then
    i = i + 1
    c = byte(s, i) or 0
    if c == 43 or c == 45 then
      i = i + 1
      c = byte(s, i) or 0
    end
    if c < 48 or c > 57 then
      malformed("a digit is missing", i)
    end
    repeat
      i = i + 1
      c = byte(s, i) or 0
    until c < 48 or c > 57
  end
  return i
end

-- Returns the place after the UTF-8 character that begins at `i` with the byte `c` >= 128 (RFC 3629).
local function utf8(s, i, c)
  local length, low, high = 0, 128, 191
  if c >= 194 and c <= 223 then
    length = 1
  elseif c >= 224 and c <= 239 then
    length = 2
    if c == 224 then low = 160 elseif c == 237 then high = 159 end
  elseif c >= 240 and c <= 244 then
    length = 3
    if c == 240 then low = 144 elseif c == 244 then high = 143 end
  else
    malformed("text is not UTF-8", i)
  end
  for step = 1, length do
    local d = byte(s, i + step) or 0
    if d < low or d > high then
      malformed("text is not UTF-8", i)
    end
    low, high = 128, 191
  end
  return i + length + 1
end

-- The code unit of a `\uXXXX` whose `u` is at `i`.
local function unit(s, i)
  local digits = string.match(s, "^%x%x%x%x", i + 1)
  if not digits then
    malformed("\\u needs four hexadecimal digits", i)
  end
  return tonumber(digits, 16)
end

-- The code point of the escape whose `u` is at `i`, and the place after it. Halves of a pair must meet.
local function code_point(s, i)
  local high = unit(s, i)
  if high < 0xD800 or high > 0xDFFF then
    return high, i + 5
  end
  local low = sub(s, i + 5, i + 6) == "\\u" and unit(s, i + 6) or 0
  if high > 0xDBFF or low < 0xDC00 or low > 0xDFFF then
    malformed("\\u escape is half a surrogate pair", i)
  end
  return 0x10000 + (high - 0xD800) * 0x400 + (low - 0xDC00), i + 11
end

local SIMPLE = { [34] = '"', [92] = "\\", [47] = "/", [98] = "\b", [102] = "\f", [110] = "\n", [114] = "\r", [116] = "\t" }

-- Returns the place after the escape whose backslash is at `i`.
local function escape(s, i)
  local c = byte(s, i + 1)
  if c == 117 then
    local _, after = code_point(s, i + 1)
    return after
  elseif not SIMPLE[c] then
    malformed("unknown escape", i)
  end
  return i + 2
end

-- Scans a text from the byte after its quote; returns the place of the closing quote and whether anything is escaped.
local function text(s, i)
  local escaped = false
  while true do
    local c = byte(s, i) or 0
    if c == 34 then
      return i, escaped
    elseif c == 92 then
      escaped = true
      i = escape(s, i)
    elseif c < 32 then
      malformed(i > #s and "a closing quote is missing" or "a control character must be escaped", i)
    elseif c < 128 then
      i = i + 1
    else
      i = utf8(s, i, c)
    end
  end
end

local function encode(point)
  if point < 0x80 then
    return char(point)
  elseif point < 0x800 then
    return char(0xC0 + math.floor(point / 0x40), 0x80 + point % 0x40)
  elseif point < 0x10000 then
    return char(0xE0 + math.floor(point / 0x1000), 0x80 + math.floor(point / 0x40) % 0x40, 0x80 + point % 0x40)
  end
  return char(
    0xF0 + math.floor(point / 0x40000),
    0x80 + math.floor(point / 0x1000) % 0x40,
    0x80 + math.floor(point / 0x40) % 0x40,
    0x80 + point % 0x40
  )
end

-- The text that an escaped one stands for, so that "\u0073ql" is the key sql.
local function unescape(s)
  local out, from = {}, 1
  local at = string.find(s, "\\", 1, true)
  while at do
    out[#out + 1] = sub(s, from, at - 1)
    local c = byte(s, at + 1)
    if c == 117 then
      local point
      point, from = code_point(s, at + 1)
      out[#out + 1] = encode(point)
    else
      out[#out + 1] = SIMPLE[c]
      from = at + 2
    end
    at = string.find(s, "\\", from, true)
  end
  out[#out + 1] = sub(s, from)
  return table.concat(out)
end

local value

-- The kind of the value under `key`, or the end of the scan.
local function member(kind, key, depth)
  local fields = kind.fields
  if not fields then
    return kind.map or ANY
  end
  local inner = fields[key]
  if inner then
    return inner
  elseif kind.given and kind.given[key] then
    fail({ field = place(depth), message = "is given by the path, not in the body" })
  elseif not tolerant then
    fail({ reason = "UNKNOWN_FIELD", field = place(depth), unknown = key, known = kind.names })
  end
  return ANY
end

local function object(s, i, kind, depth)
  local at, c = token(s, i)
  if c == 125 then
    return at + 1
  end
  local seen = {}
  while true do
    if c ~= 34 then
      malformed(c == 125 and "a comma is left over" or "a key in double quotes is missing", at)
    end
    local close, escaped = text(s, at + 1)
    local key = sub(s, at + 1, close - 1)
    if escaped then
      key = unescape(key)
    end
    trail[depth] = key
    if seen[key] then
      fail({ reason = "DUPLICATE_FIELD", field = place(depth), message = "is given twice" })
    end
    seen[key] = true
    at, c = token(s, close + 1)
    if c ~= 58 then
      malformed("a colon is missing", at)
    end
    at, c = token(s, at + 1)
    if c == 110 and kind.map and kind.map ~= ANY then
      fail({ field = place(depth), message = "must not be null" })
    end
    at, c = token(s, value(s, at, c, member(kind, key, depth), depth + 1))
    if c == 125 then
      return at + 1
    elseif c ~= 44 then
      malformed("a comma or a closing brace is missing", at)
    end
    at, c = token(s, at + 1)
  end
end

local function array(s, i, kind, depth)
  local at, c = token(s, i)
  if c == 93 then
    return at + 1
  end
  local index, inner = 0, kind.list or ANY
  local is_numeric = inner == NUMBER or inner == ANY
  while true do
    trail[depth] = index
    if is_numeric and (c == 45 or (c and c >= 48 and c <= 57)) then
      at = number(s, at, c)
    elseif c == 110 and inner ~= ANY then
      -- The transcoder would leave the element out, and every later one would move.
      fail({ field = place(depth), message = "must not be null" })
    elseif c == 93 then
      malformed("a comma is left over", at)
    else
      at = value(s, at, c, inner, depth + 1)
    end
    at, c = token(s, at)
    if c == 93 then
      return at + 1
    elseif c ~= 44 then
      malformed("a comma or a closing bracket is missing", at)
    end
    index = index + 1
    at, c = token(s, at + 1)
  end
end

local WORDS = { [116] = "true", [102] = "false", [110] = "null" }
local NUMERIC = { NaN = true, Infinity = true, ["-Infinity"] = true }

-- Scans the value that begins at `i` with the byte `c`, whatever its kind; returns the place after it.
local function scan(s, i, c, kind, depth)
  if c == 34 then
    return (text(s, i + 1)) + 1
  elseif c == 123 or c == 91 then
    if depth > DEEPEST then
      fail({ reason = "MALFORMED_MESSAGE", message = "nested deeper than " .. DEEPEST .. " levels" })
    end
    return (c == 123 and object or array)(s, i + 1, kind, depth)
  elseif c == 45 or (c and c >= 48 and c <= 57) then
    return number(s, i, c)
  end
  local word = WORDS[c]
  if not word or sub(s, i, i + #word - 1) ~= word then
    malformed(c and "a value is missing" or "it ends too early", i)
  end
  return i + #word
end

function value(s, i, c, kind, depth)
  local first = kind.first
  if not first or first[c] or c == 110 then
    local after = scan(s, i, c, kind, depth)
    if c == 34 and kind == NUMBER then
      local digits = sub(s, i + 1, after - 2)
      if not tonumber(digits) and not NUMERIC[digits] then
        fail({ field = place(depth - 1), message = "must be a number" })
      end
    end
    return after
  end
  scan(s, i, c, ANY, depth) -- what is no JSON is told first
  fail({ field = place(depth - 1), message = "must be " .. kind.noun })
end

local function document(s, kind)
  local at, c = token(s, 1)
  if c ~= 123 then
    malformed("the body must be an object", at)
  end
  at, c = token(s, object(s, at + 1, kind, 1))
  if c then
    malformed("something follows the object", at)
  end
end

-- Where the text whose first byte is at `i` ends: the place of its closing quote.
local function text_end(s, i)
  return (text(s, i))
end

-- Returns nil when `s` is one JSON object that fits `kind`, else what is wrong with it.
local function check(s, kind, tolerates_unknown_fields)
  tolerant = tolerates_unknown_fields
  local fine, problem = pcall(document, s, kind)
  if not fine and type(problem) == "string" then
    error(problem, 0) -- a fault of this code, not of the text
  end
  return not fine and problem or nil
end

return { check = check, text_end = text_end }

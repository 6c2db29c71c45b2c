-- The routes of the contract: which one a request takes, and what its query may hold (X2).

local kinds = require("kinds")
local reply = require("reply")
local edge = require("edge")

local find, sub = string.find, string.sub

local known = {} -- kinds by the names that edge.lua gives them
for name, kind in pairs(kinds.named) do
  known[name] = kind
end

-- The kind of values that edge.lua calls `type`.
local function kind_of(type)
  if known[type] then
    return known[type]
  elseif edge.maps[type] then
    known[type] = kinds.map(kind_of(edge.maps[type]))
  elseif edge.lists[type] then
    known[type] = kinds.list(kind_of(edge.lists[type]))
  else
    local message = kinds.message()
    known[type] = message -- before its fields, which may be of the same type
    for i, field in ipairs(edge.messages[type]) do
      message.names[i] = field[1]
      message.fields[field[1]] = kind_of(field[2])
    end
  end
  return known[type]
end

-- A kind of message without the fields that the path gives or that travel as the body.
local function without(kind, given)
  if #given == 0 then
    return kind
  end
  local rest = kinds.message()
  rest.given = {}
  for _, name in ipairs(given) do
    rest.given[name] = true
  end
  for _, name in ipairs(kind.names) do
    if not rest.given[name] then
      rest.fields[name] = kind.fields[name]
      rest.names[#rest.names + 1] = name
    end
  end
  return rest
end

-- "/v1/sql" -> {"v1", "sql"}; empty segments stay.
local function segments_of(path)
  local segments, from = {}, 2
  local slash = find(path, "/", from, true)
  while slash do
    segments[#segments + 1] = sub(path, from, slash - 1)
    from = slash + 1
    slash = find(path, "/", from, true)
  end
  segments[#segments + 1] = sub(path, from)
  return segments
end

-- A node has a child for each literal segment, one under "*" for {name} and one under "**" for {name=**}.
local root = { children = {}, verbs = {} }

for _, route in ipairs(edge.routes) do
  local node = root
  for _, segment in ipairs(segments_of(route.path)) do
    local key = segment
    if sub(segment, 1, 1) == "{" then
      key = find(segment, "=**", 1, true) and "**" or "*"
    end
    node.children[key] = node.children[key] or { children = {}, verbs = {} }
    node = node.children[key]
  end
  node.verbs[route.verb] = route
  -- Without a query the body is the whole message; with one it is another message, all its own.
  route.body = route.body and without(kind_of(route.body), route.query and {} or route.given)
  route.query = route.query and without(kind_of(route.query), route.given)
end

-- The route below `node` for the segments from `at` on. Tries literals, then "*", then "**", and goes
-- back when that leads nowhere, as the transcoder does. Collects in `verbs` those that would do.
local function search(node, segments, at, verb, verbs)
  if at > #segments then
    for other in pairs(verbs and node.verbs or {}) do
      verbs[other] = true
    end
    return node.verbs[verb]
  end
  local children, segment = node.children, segments[at]
  local found = children[segment] and search(children[segment], segments, at + 1, verb, verbs)
  if not found and children["*"] and segment ~= "" then
    found = search(children["*"], segments, at + 1, verb, verbs)
  end
  if not found and children["**"] and segments[#segments] ~= "" then
    found = search(children["**"], segments, #segments + 1, verb, verbs)
  end
  return found
end

-- How far a path is from a route: edits in literals, segments too few, too many or quite different.
local function remoteness(segments, route)
  local wanted = segments_of(route.path)
  local far = find(route.path, "=**}", 1, true) and 0 or 4 * math.max(0, #segments - #wanted)
  for i, segment in ipairs(wanted) do
    if not segments[i] then
      far = far + 4
    elseif sub(segment, 1, 1) ~= "{" then
      local edits = reply.distance(segments[i], segment, 4)
      far = far + (edits > #segment / 2 and 8 or edits)
    end
  end
  return far
end

local function no_route(verb, path, segments)
  local best, least = nil, 7
  for _, route in ipairs(edge.routes) do
    local far = remoteness(segments, route) + (route.verb == verb and 0 or 0.5)
    if far < least then
      best, least = route, far
    end
  end
  local suggestion = best and best.verb .. " " .. best.path
  local hint = suggestion and "; did you mean " .. suggestion .. "?" or ""
  return 404, { message = "no route for " .. sub(path, 1, 200) .. hint, suggestion = suggestion }
end

-- The route for a verb and a path without query, or nil.
local function find_route(verb, path)
  return search(root, segments_of(path), 1, verb)
end

-- The status and the problem of a request for which there is no route.
local function explain_missing(verb, path)
  local segments, verbs, allowed = segments_of(path), {}, {}
  search(root, segments, 1, verb, verbs)
  for other in pairs(verbs) do
    allowed[#allowed + 1] = other
  end
  if #allowed == 0 then
    return no_route(verb, path, segments)
  end
  table.sort(allowed)
  local allow = table.concat(allowed, ", ")
  return 405, { message = "this path takes " .. allow .. ", not " .. verb, allow = allow }
end

local function unescaped(text)
  return (string.gsub(text, "%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

-- What is wrong with one name in a query string, or nil. `filter.size` goes through message types.
local function query_problem(route, name, again)
  local kind = route.query
  for step in string.gmatch(name == "" and "?" or name, "[^.]+") do
    local inner = kind and kind.fields and kind.fields[step]
    if not inner then
      if route.body and route.body.fields[name] then
        return { field = name, message = "belongs in the body, not in the query" }
      end
      local known = kind and kind.names or {}
      local problem = { field = name, reason = "UNKNOWN_FIELD", unknown = step, known = known }
      return reply.suggest(problem, "query parameter")
    end
    kind = inner
  end
  local single = kind.list or kind
  if single.fields or single.map or not single.first then
    return { field = name, message = "cannot be given as a query parameter" }
  elseif again and not kind.list then
    return { field = name, reason = "DUPLICATE_FIELD", message = "is given twice" }
  end
end

-- Returns the query string with every name decoded, which the transcoder leaves undone, or nil and a problem.
local function check_query(query, route)
  local seen, decoded = {}, {}
  for pair in string.gmatch(query, "[^&]+") do
    local name, rest = string.match(pair, "^([^=]*)(.*)$")
    name = unescaped(name)
    local problem = query_problem(route, name, seen[name])
    if problem then
      return nil, problem
    end
    seen[name] = true
    decoded[#decoded + 1] = name .. rest
  end
  return table.concat(decoded, "&")
end

return { find_route = find_route, explain_missing = explain_missing, check_query = check_query }

-- The edge's filter, ahead of the transcoder: finds the route, refuses what the contract does not
-- have (X2), and gives every error one shape (X3). It knows the contract from edge.lua, which is
-- generated from the descriptors. Envoy loads this file once for each worker.

local json = require("json")
local reply = require("reply")
local routes = require("routes")
local edge = require("edge")

local find, sub = string.find, string.sub

local NAMESPACE = "lakehouse.edge"
local OURS = "x-lakehouse-"
local REQUEST_ID = "x-lakehouse-request-id"
local LENGTH, SIZE, STATUS = "x-lakehouse-content-length", "x-lakehouse-size", "x-lakehouse-http-status"
local OFFERED = { "x-lakehouse-bucket", REQUEST_ID, "x-lakehouse-trace-id" }

local function set_of(names)
  local set = {}
  for _, name in ipairs(names) do
    set[name] = true
  end
  return set
end

local is_offered = set_of(OFFERED)
local is_read = set_of({ ":method", ":path", "authorization", "content-length", "content-type", REQUEST_ID })
-- What only the mesh itself may say: removed from every request.
local is_internal = set_of({
  LENGTH,
  SIZE,
  STATUS,
  "x-lakehouse-internal",
  "x-lakehouse-instance",
  "x-envoy-original-path",
  "x-envoy-original-method",
})

-- Reads the headers in one pass, which must run to its end: each look-up by name costs as much as a
-- step of it. Returns those that matter here by name, and one of ours that the contract does not have.
local function read_headers(headers)
  local seen, internal, unknown = {}, nil, nil
  for name, value in pairs(headers) do
    if is_read[name] then
      seen[name] = seen[name] and seen[name] .. "," .. value or value
    elseif is_internal[name] then
      internal = internal or {}
      internal[#internal + 1] = name
    elseif sub(name, 1, #OURS) == OURS and not is_offered[name] then
      unknown = unknown or name
    end
  end
  for _, name in ipairs(internal or {}) do
    headers:remove(name)
  end
  return seen, unknown
end

-- Takes the same time wherever the texts differ (X4).
local function equal(a, b)
  local difference = #a == #b and 0 or 1
  for i = 1, #a do
    difference = bit.bor(difference, bit.bxor(string.byte(a, i), string.byte(b, (i - 1) % #b + 1)))
  end
  return difference == 0
end

-- Answers the request here and now; does not return. Envoy turns it into a gRPC status for native calls.
local function refuse(handle, status, problem, is_native)
  local headers = { [":status"] = tostring(status), allow = problem.allow }
  if is_native then
    handle:respond(headers, problem.message)
  end
  headers["content-type"] = "application/json"
  headers["www-authenticate"] = status == 401 and "Bearer" or nil
  handle:respond(headers, reply.body(status, problem))
end

local function is_authorized(authorization, path)
  if not edge.token or edge.public[path] then
    return true
  end
  local scheme, token = string.match(authorization or "", "^(%a+) +(.-) *$")
  local is_same = equal(token or "", edge.token) -- compares even without a scheme
  return is_same and scheme ~= nil and string.lower(scheme) == "bearer"
end

local function too_large(length, route)
  return { message = "the body has " .. length .. " bytes, at most " .. route.limit .. " are allowed" }
end

-- Both look at what may be wrong before the body comes. They return nil, or a status and a problem.
local function check_length(headers, route, declared)
  local length = tonumber(declared) or 0
  if route.upload then
    if declared then
      headers:add(LENGTH, declared)
    end
  elseif length > 0 and not route.body then
    return 400, { message = route.verb .. " " .. route.path .. " takes no body" }
  elseif length > route.limit then
    return 413, too_large(length, route)
  end
end

local function check_query(headers, route, path, query)
  local decoded, problem = routes.check_query(query, route)
  if problem then
    return 400, problem
  elseif decoded ~= query then
    headers:replace(":path", path .. "?" .. decoded)
  end
end

local function on_request(handle)
  local headers = handle:headers()
  local seen, unknown = read_headers(headers)
  local id = seen[REQUEST_ID]
  if id and (id == "" or #id > 128 or find(id, "[^%w_.:-]")) then
    headers:remove(REQUEST_ID) -- not fit for logs; the call gets one of ours
  end
  local is_native = sub(seen["content-type"] or "", 1, 16) == "application/grpc"
  local verb, path, query = seen[":method"], seen[":path"] or "", nil
  local mark = find(path, "?", 1, true)
  if mark then
    path, query = sub(path, 1, mark - 1), sub(path, mark + 1)
  end

  local route = not is_native and routes.find_route(verb, path)
  if route and route.tolerant then
    handle:streamInfo():dynamicMetadata():set(NAMESPACE, "openai", true)
  end
  if not is_authorized(seen.authorization, path) then
    refuse(handle, 401, { message = "a token is needed: Authorization: Bearer <token>" }, is_native)
  elseif is_native then
    return
  elseif not route then
    refuse(handle, routes.explain_missing(verb, path))
  elseif unknown then
    local problem = { field = unknown, reason = "UNKNOWN_FIELD", unknown = unknown, known = OFFERED }
    refuse(handle, 400, reply.suggest(problem, "header"))
  end
  local status, problem = check_length(headers, route, seen["content-length"])
  if not problem and query then
    status, problem = check_query(headers, route, path, query)
  end
  if problem then
    refuse(handle, status, problem)
  end

  local buffer = route.body and handle:body()
  if buffer and buffer:length() > route.limit then
    -- Envoy does not stop reading before its connection buffer is full, however low a route's limit.
    refuse(handle, 413, too_large(buffer:length(), route))
  elseif buffer then
    problem = json.check(buffer:getBytes(0, buffer:length()), route.body, route.tolerant)
    if problem then
      refuse(handle, 400, problem.unknown and reply.suggest(problem, "field") or problem)
    end
  end
end

function envoy_on_request(handle)
  local fine, fault = pcall(on_request, handle)
  if not fine then
    -- Envoy would let a request pass whose filter failed.
    handle:logErr("edge filter: " .. tostring(fault))
    refuse(handle, 500, { message = "the edge could not read this request" })
  end
end

-- ---- Answers ----

-- Envoy's own errors are plain text. The transcoder names the field first: `items[0].k: invalid value`.
-- It does not count within lists of numbers or texts, so an index at the end says nothing.
local function explain(text)
  text = string.match(text, "^[^\n]*") -- the rest shows the request
  local field, message = string.match(text, "^([%w_][%w_.%[%]]*): (.+)$")
  return { field = field and string.gsub(field, "%[%d+%]$", ""), message = message or text }
end

local MESSAGES = {
  [403] = "this address is not allowed",
  [404] = "no such route",
  [413] = "the body is larger than this route allows",
}

-- The status that a daemon wants instead of the one its gRPC code stands for. When it sent metadata
-- first, the wish comes in the trailers.
local function wish_of(headers, trailers)
  local wish = headers:get(STATUS)
  if wish then
    headers:remove(STATUS)
  elseif trailers then
    wish = trailers:get(STATUS)
    trailers:remove(STATUS)
  end
  wish = tonumber(wish)
  return wish and wish >= 400 and wish < 600 and wish or nil
end

local function on_error(handle, status)
  local buffer = handle:body(true) -- waits for all of it
  local headers = handle:headers()
  local wish = wish_of(headers, handle:trailers())
  if wish then
    status = wish
    headers:replace(":status", tostring(wish))
  end
  local text = buffer:getBytes(0, buffer:length())
  local type = headers:get("content-type")
  if not type or sub(type, 1, 10) == "text/plain" then
    local problem = explain(text)
    problem.message = MESSAGES[status] or (problem.message ~= "" and problem.message) or "status " .. status
    text = reply.body(status, problem)
    headers:replace("content-type", "application/json")
    buffer:setBytes(text)
  end
  local call = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
  if call and call.openai then
    buffer:setBytes(reply.openai_body(status, text))
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status, size = tonumber(headers:get(":status")), headers:get(SIZE)
  if status >= 400 then
    on_error(handle, status)
  elseif size then
    headers:remove(SIZE)
    headers:replace("content-length", size)
    local info = handle:streamInfo()
    if info:protocol() ~= "HTTP/2" then
      -- Over HTTP/1 a body that ended early looks whole until the connection closes (X3).
      info:drainConnectionUponCompletion()
    end
  elseif headers:get(STATUS) then
    headers:remove(STATUS) -- of a native call
  end
end

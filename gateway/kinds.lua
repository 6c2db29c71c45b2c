-- Kinds of values, as a contract declares them.
--
-- `first` holds the bytes with which a value may begin, and `noun` names it. A message has its `fields` by
-- name and their `names` in order, a map has the kind of its values in `map`, a list that of its elements
-- in `list`.

local function kind(noun, first)
  local set = {}
  for i = 1, #first do
    set[string.byte(first, i)] = true
  end
  return { noun = noun, first = set }
end

-- Those without parts, by the names that edge.lua gives them.
local named = {
  any = {}, -- its keys belong to the caller (Value, and what is in a Struct)
  boolean = kind("true or false", "tf"),
  number = kind("a number", '-0123456789"'),
  text = kind("a text", '"'),
  word = kind("a word", '-0123456789"'),
}

local function message()
  local new = kind("an object", "{")
  new.fields, new.names = {}, {}
  return new
end

local function map(values)
  local new = kind("an object", "{")
  new.map = values
  return new
end

local function list(elements)
  local new = kind("a list", "[")
  new.list = elements
  return new
end

return { named = named, message = message, map = map, list = list }

-- Bearer tokens in nginx, as fast as LuaJIT allows: signatures through FFI (hs256.lua, rs256.lua), base64url from
-- lua-resty-core (FFI too), claims by lua-cjson, verified tokens in lua-resty-lrucache.
local base64 = require("ngx.base64")
local cjson = require("cjson.safe")
local lrucache = require("resty.lrucache")

local decode = base64.decode_base64url
local find, sub = string.find, string.sub
local LEEWAY = 30

-- As many tokens as rawgate's 16 MiB hold of this size.
local remembered = assert(lrucache.new(20000))
-- An issuer's tokens share a few headers: rawgate remembers those too. Only those of tokens that were well signed, so that
-- nobody else can fill this.
local headers = {}

local function refuse(missing)
    ngx.status = 401
    ngx.header["Content-Type"] = "application/problem+json"
    ngx.header["WWW-Authenticate"] = missing and "Bearer" or 'Bearer error="invalid_token"'
    ngx.print('{"type":"about:blank","title":"Unauthorized","status":401,"reason":"',
        missing and "auth_missing" or "auth_invalid", '","requestId":"', ngx.var.request_id, '"}')
    return ngx.exit(401)
end

local function header_is_good(part, algorithm)
    if headers[part] then
        return true
    end
    local text = decode(part)
    local header = text and cjson.decode(text)
    return type(header) == "table" and header.alg == algorithm and header.crit == nil
end

local function verify(token, key)
    local first = find(token, ".", 1, true)
    local second = first and find(token, ".", first + 1, true)
    if not second then
        return nil
    end
    local header = sub(token, 1, first - 1)
    local signature = decode(sub(token, second + 1))
    if not signature or not header_is_good(header, key.algorithm) or not key.good(token, second - 1, signature) then
        return nil
    end
    headers[header] = true
    local text = decode(sub(token, first + 1, second - 1))
    local claims = text and cjson.decode(text)
    if type(claims) ~= "table" or type(claims.exp) ~= "number" or type(claims.sub) ~= "string" or claims.aud then
        return nil
    end
    return claims
end

-- `remember`: whether verified tokens are remembered, as rawgate does, or verified each time.
local function checker(key, remember)
    return function()
        local value = ngx.var.http_authorization
        if not value or sub(value, 1, 7) ~= "Bearer " then
            return refuse(true)
        end
        local token = sub(value, 8)
        if remember then
            local known = remembered:get(token)
            if known then
                ngx.var.client = known
                return
            end
        end
        local claims = verify(token, key)
        local now = ngx.time()
        if not claims or now >= claims.exp + LEEWAY or (claims.nbf and now < claims.nbf - LEEWAY) then
            return refuse(false)
        end
        if remember then
            remembered:set(token, claims.sub, claims.exp + LEEWAY - now)
        end
        ngx.var.client = claims.sub
    end
end

return { checker = checker }

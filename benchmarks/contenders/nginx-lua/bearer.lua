-- HS256 bearer tokens in nginx, as fast as LuaJIT allows: HMAC through FFI with the key's state primed once,
-- base64url from lua-resty-core (FFI too), claims by lua-cjson, verified tokens in lua-resty-lrucache.
local ffi = require("ffi")
local base64 = require("ngx.base64")
local cjson = require("cjson.safe")
local lrucache = require("resty.lrucache")

ffi.cdef([[
    const void *EVP_sha256(void);
    void *HMAC_CTX_new(void);
    int HMAC_Init_ex(void *ctx, const void *key, int len, const void *md, void *engine);
    int HMAC_Update(void *ctx, const unsigned char *data, size_t len);
    int HMAC_Final(void *ctx, unsigned char *md, unsigned int *len);
    int CRYPTO_memcmp(const void *a, const void *b, size_t len);
]])

local C = ffi.C
local decode = base64.decode_base64url
local find, sub, byte = string.find, string.sub, string.byte
local LEEWAY = 30

local secret = assert(os.getenv("JWT_SECRET"), "JWT_SECRET is not set")
local context = C.HMAC_CTX_new()
assert(C.HMAC_Init_ex(context, secret, #secret, C.EVP_sha256(), nil) == 1)
local digest = ffi.new("unsigned char[32]")
local length = ffi.new("unsigned int[1]")

-- As many tokens as rawgate's 16 MiB hold of this size.
local remembered = assert(lrucache.new(20000))
-- An issuer's tokens share a few headers: rawgate remembers those too.
local headers = {}

local function refuse(missing)
    ngx.status = 401
    ngx.header["Content-Type"] = "application/problem+json"
    ngx.header["WWW-Authenticate"] = missing and "Bearer" or 'Bearer error="invalid_token"'
    ngx.print('{"type":"about:blank","title":"Unauthorized","status":401,"reason":"',
        missing and "auth_missing" or "auth_invalid", '","requestId":"', ngx.var.request_id, '"}')
    return ngx.exit(401)
end

local function header_is_good(part)
    if headers[part] then
        return true
    end
    local text = decode(part)
    local header = text and cjson.decode(text)
    if type(header) ~= "table" or header.alg ~= "HS256" or header.crit ~= nil then
        return false
    end
    headers[part] = true
    return true
end

local function verify(token)
    local first = find(token, ".", 1, true)
    local second = first and find(token, ".", first + 1, true)
    if not second or not header_is_good(sub(token, 1, first - 1)) then
        return nil
    end
    local signature = decode(sub(token, second + 1))
    if not signature or #signature ~= 32 then
        return nil
    end
    -- A null key starts over with the primed one.
    C.HMAC_Init_ex(context, nil, 0, nil, nil)
    C.HMAC_Update(context, token, second - 1)
    C.HMAC_Final(context, digest, length)
    if C.CRYPTO_memcmp(digest, signature, 32) ~= 0 then
        return nil
    end
    local text = decode(sub(token, first + 1, second - 1))
    local claims = text and cjson.decode(text)
    if type(claims) ~= "table" or type(claims.exp) ~= "number" or type(claims.sub) ~= "string" then
        return nil
    end
    return claims
end

local function check(remember)
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
    local claims = verify(token)
    local now = ngx.time()
    if not claims or now >= claims.exp + LEEWAY or (claims.nbf and now < claims.nbf - LEEWAY) then
        return refuse(false)
    end
    if remember then
        remembered:set(token, claims.sub, claims.exp + LEEWAY - now)
    end
    ngx.var.client = claims.sub
end

return { check = check }

-- HMAC with SHA-256 through FFI: the key's state is primed once, and each token starts from it.
local ffi = require("ffi")

ffi.cdef([[
    const void *EVP_sha256(void);
    void *HMAC_CTX_new(void);
    int HMAC_Init_ex(void *ctx, const void *key, int len, const void *md, void *engine);
    int HMAC_Update(void *ctx, const unsigned char *data, size_t len);
    int HMAC_Final(void *ctx, unsigned char *md, unsigned int *len);
    int CRYPTO_memcmp(const void *a, const void *b, size_t len);
]])

local C = ffi.C

-- A function of the token, how many of its octets are signed, and the signature: whether it is good.
return function(secret)
    local context = C.HMAC_CTX_new()
    assert(C.HMAC_Init_ex(context, secret, #secret, C.EVP_sha256(), nil) == 1)
    local digest = ffi.new("unsigned char[32]")
    local length = ffi.new("unsigned int[1]")

    local function good(token, signed, signature)
        if #signature ~= 32 then
            return false
        end
        -- A null key starts over with the primed one.
        C.HMAC_Init_ex(context, nil, 0, nil, nil)
        C.HMAC_Update(context, token, signed)
        C.HMAC_Final(context, digest, length)
        return C.CRYPTO_memcmp(digest, signature, 32) == 0
    end

    return { algorithm = "HS256", good = good }
end

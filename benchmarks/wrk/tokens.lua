-- A GET with a bearer token. BENCH_POOL: how many tokens take turns, at random; 0: all of the file's, in order, from
-- the BENCH_FIRST-th on.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")
local random = math.random
local pool = tonumber(os.getenv("BENCH_POOL") or "0")
local tokens, at

function init()
    at = tonumber(os.getenv("BENCH_FIRST") or "0")
    tokens = common.tokens(pool > 0 and pool or nil)
end

function request()
    local token
    if pool > 0 then
        token = tokens[random(1, pool)]
    else
        at = at % #tokens + 1
        token = tokens[at]
    end
    return "GET " .. common.path("/api/users") .. " HTTP/1.1\r\nHost: bench.test\r\nAccept: application/json\r\n"
        .. "User-Agent: bench/1.0\r\nAuthorization: Bearer " .. token .. "\r\nX-Debug: 1\r\nX-Trace: "
        .. common.hex32() .. "\r\n\r\n"
end

done = common.done

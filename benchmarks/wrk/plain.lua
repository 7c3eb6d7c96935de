-- A small GET as an API client sends it; path, query and ids differ. BENCH_PREFIX: another path to begin with.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")
local prefix = os.getenv("BENCH_PREFIX") or "/api/users"

function request()
    local id = common.hex32()
    return "GET " .. common.path(prefix) .. " HTTP/1.1\r\nHost: bench.test\r\nAccept: application/json\r\n"
        .. "User-Agent: bench/1.0\r\nX-Trace: " .. id .. "\r\n\r\n"
end

done = common.done

-- A file: BENCH_FILE is its path at the upstream.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")
local path = os.getenv("BENCH_FILE")

function request()
    return "GET " .. path .. "?v=" .. common.hex32() .. " HTTP/1.1\r\nHost: bench.test\r\n\r\n"
end

done = common.done

-- A body of 1 MiB.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")
local body = string.rep("0123456789abcdef", 65536)

function request()
    return "POST " .. common.path("/uploads") .. " HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 1048576\r\n\r\n"
        .. body
end

done = common.done

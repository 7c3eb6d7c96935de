-- A connection for each request: what wrk/plain.lua sends, and the connection ends with the answer.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")

function request()
    return "GET " .. common.path("/api/users") .. " HTTP/1.1\r\nHost: bench.test\r\nAccept: application/json\r\n"
        .. "User-Agent: bench/1.0\r\nConnection: close\r\nX-Trace: " .. common.hex32() .. "\r\n\r\n"
end

done = common.done

-- Eight small GETs in one write; the answers come back in order.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")
local parts = {}

function request()
    for index = 1, 8 do
        parts[index] = "GET " .. common.path("/api/users") .. " HTTP/1.1\r\nHost: bench.test\r\nX-Trace: "
            .. common.hex32() .. "\r\n\r\n"
    end
    return table.concat(parts)
end

done = common.done

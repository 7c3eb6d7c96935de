-- A GET with an API key out of thousands, at random.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")
local random = math.random
local keys = {}

function init()
    for line in io.lines(assert(os.getenv("BENCH_DIR")) .. "/api-keys.txt") do
        keys[#keys + 1] = line:match(":(.*)$")
    end
end

function request()
    return "GET " .. common.path("/api/users") .. " HTTP/1.1\r\nHost: bench.test\r\nAccept: application/json\r\n"
        .. "User-Agent: bench/1.0\r\nX-Api-Key: " .. keys[random(1, #keys)] .. "\r\nX-Debug: 1\r\nX-Trace: "
        .. common.hex32() .. "\r\n\r\n"
end

done = common.done

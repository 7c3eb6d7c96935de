-- A body of BENCH_SIZE octets; in chunks of BENCH_CHUNK octets where that is set.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")
local size = tonumber(os.getenv("BENCH_SIZE"))
local chunk = tonumber(os.getenv("BENCH_CHUNK") or "0")
local body = string.rep("0123456789abcdef", size / 16)
local framing = "Content-Length: " .. size

if chunk > 0 then
    local piece = string.format("%x\r\n", chunk) .. body:sub(1, chunk) .. "\r\n"
    body = string.rep(piece, size / chunk) .. "0\r\n\r\n"
    framing = "Transfer-Encoding: chunked"
end

function request()
    return "POST " .. common.path("/uploads") .. " HTTP/1.1\r\nHost: bench.test\r\nX-Trace: " .. common.hex32() .. "\r\n"
        .. framing .. "\r\n\r\n" .. body
end

done = common.done
